//! In which order connections expire: every slot with a deadline, the earliest first.
//!
//! One sorted list of slots, cut into short runs so that one can be put in or taken out without moving all that come behind
//! it. The deadline itself stands in the slot, so a connection takes some five bytes here; it must not change while its
//! slot is listed.

use super::slots::{SlotId, Slots};
use super::time::Time;

/// Most slots in a run.
const RUN: usize = if cfg!(test) { 4 } else { 256 };

/// By how many slots a run grows.
const GROWTH: usize = RUN / 16 + 1;

#[derive(Debug)]
pub(super) struct Lifetimes {
    /// None is empty.
    runs: Vec<Vec<SlotId>>,
}

/// Of two that expire at the same moment the lower slot comes first.
type Key = (Time, SlotId);

fn key<T>(slots: &Slots<T>, id: SlotId) -> Key {
    (slots.get(id).expires, id)
}

impl Lifetimes {
    pub(super) fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// The one that expires first.
    pub(super) fn first<T>(&self, slots: &Slots<T>) -> Option<Key> {
        let first = self.runs.first()?[0];
        Some(key(slots, first))
    }

    /// Lists a slot that is not listed yet.
    pub(super) fn insert<T>(&mut self, slots: &Slots<T>, id: SlotId) {
        let (at, place) = self.find(slots, key(slots, id));
        match self.runs.get_mut(at) {
            Some(run) if run.len() < RUN => {
                if run.len() == run.capacity() {
                    run.reserve_exact(GROWTH);
                }
                run.insert(place, id);
            }
            Some(run) if place < RUN => {
                let rest = run.split_off(RUN / 2);
                run.shrink_to_fit();
                self.runs.insert(at + 1, rest);
                self.insert(slots, id);
            }
            // Those that come in order leave full runs behind.
            Some(_) => self.runs.insert(at + 1, vec![id]),
            None => self.runs.push(vec![id]),
        }
    }

    /// Strikes a slot off the list, if it is there.
    pub(super) fn remove<T>(&mut self, slots: &Slots<T>, id: SlotId) {
        let (at, place) = self.find(slots, key(slots, id));
        let Some(run) = self.runs.get_mut(at) else {
            return;
        };
        if run.get(place) == Some(&id) {
            run.remove(place);
            if run.is_empty() {
                self.runs.remove(at);
            }
        }
    }

    /// How far it is from there to the nearest deadline.
    pub(super) fn distance<T>(&self, slots: &Slots<T>, from: Time) -> u64 {
        let (at, place) = self.find(slots, (from, SlotId::NONE));
        let Some(run) = self.runs.get(at) else {
            return u64::MAX;
        };
        let before = place.checked_sub(1).map(|place| run[place]);
        let next_run = self.runs.get(at + 1).and_then(|run| run.first());
        let after = run.get(place).or(next_run).copied();
        before
            .into_iter()
            .chain(after)
            .map(|id| slots.get(id).expires.distance(from))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The run and the place in it where the key is, or where it would have to be put.
    fn find<T>(&self, slots: &Slots<T>, wanted: Key) -> (usize, usize) {
        let begun = self
            .runs
            .partition_point(|run| key(slots, run[0]) <= wanted);
        let at = begun.saturating_sub(1);
        let place = self
            .runs
            .get(at)
            .map_or(0, |run| run.partition_point(|&id| key(slots, id) < wanted));
        (at, place)
    }

    #[cfg(test)]
    pub(super) fn all<T>(&self, slots: &Slots<T>) -> Vec<Key> {
        let listed = self.runs.iter().flatten();
        listed.map(|&id| key(slots, id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SLOTS: usize = 60;

    fn at(nanos: u64) -> Time {
        Time::START.after_nanos(nanos)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_and_goes_it_answers_as_an_ordered_set_does(
            moves in prop::collection::vec((0..SLOTS, prop::option::of(0..50_u64), 0..60_u64), 1..300),
        ) {
            let mut slots = Slots::<u64>::new();
            for _ in 0..SLOTS {
                slots.occupy(SLOTS);
            }
            let (mut lifetimes, mut set) = (Lifetimes::new(), BTreeSet::new());
            for (index, expires, from) in moves {
                let id = SlotId::from_index(index);
                set.remove(&key(&slots, id));
                lifetimes.remove(&slots, id);
                if let Some(expires) = expires {
                    slots.at(id).expires = at(expires);
                    set.insert(key(&slots, id));
                    lifetimes.insert(&slots, id);
                }
                prop_assert_eq!(lifetimes.first(&slots), set.first().copied());
                prop_assert_eq!(lifetimes.all(&slots), set.iter().copied().collect::<Vec<_>>());
                let nearest = set.iter().map(|(expires, _)| expires.distance(at(from))).min();
                prop_assert_eq!(lifetimes.distance(&slots, at(from)), nearest.unwrap_or(u64::MAX));
                prop_assert!(lifetimes.runs.iter().all(|run| (1..=RUN).contains(&run.len())));
                prop_assert!(lifetimes.runs.iter().all(|run| run.capacity() < RUN + GROWTH));
            }
        }
    }

    #[test]
    fn those_that_expire_in_the_order_in_which_they_came_leave_no_room_between_them() {
        let mut slots = Slots::<u64>::new();
        let mut lifetimes = Lifetimes::new();
        for expires in 0..10 * RUN as u64 {
            let id = slots.occupy(usize::MAX);
            slots.at(id).expires = at(expires);
            lifetimes.insert(&slots, id);
        }
        assert_eq!(lifetimes.runs.len(), 10);
    }
}
