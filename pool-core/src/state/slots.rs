//! The slots: every connection there is or will be has one, and there are never more than `max_size`.

use super::time::Time;

/// Names a slot; reused once the slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u32);

impl SlotId {
    /// No slot, in the links of the idle list.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    #[cfg(test)]
    pub(crate) fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

/// Where a slot stands in the drawing at the top of `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    Connecting,
    InUse,
    Idle,
    Closing,
    /// Dialled anew for the caller who has the slot.
    Renewing,
}

/// A connection is here while it lies idle; otherwise all that is to be known is since when it is not.
///
/// One place for both, which need no tag: a pool of many idle connections is small.
#[derive(Debug)]
pub(super) enum Whereabouts<T> {
    Here(T),
    Out { since: Time },
}

/// What the pool knows of one connection.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) phase: Phase,
    /// In use, but with no caller: it is being looked at, cleaned or checked.
    pub(super) aside: bool,
    /// Its place in the window of the jitter, of 65,536: what its lifetime is shortened by.
    pub(super) jitter: u16,
    /// How often it was checked out.
    pub(super) uses: u32,
    /// Neighbours in the idle list; `older` also links the free slots.
    pub(super) older: SlotId,
    pub(super) newer: SlotId,
    /// Unique in the life of the pool, unlike the slot.
    pub(super) id: u64,
    pub(super) born: Time,
    /// When it is to be given up: when it is too old, or earlier if it said so itself; at the start if it was retired, and
    /// long past if it grew too old while it was in use.
    pub(super) expires: Time,
    /// Last check-in, also while it is in use: its idle time before this use was from then until it went out.
    pub(super) idle_since: Time,
    pub(super) whereabouts: Whereabouts<T>,
}

impl<T> Slot<T> {
    /// One that is out already goes to a caller.
    #[inline]
    pub(super) fn hand_out(&mut self, now: Time) {
        self.note(Whereabouts::Out { since: now });
        self.count_use();
    }

    #[inline]
    pub(super) fn count_use(&mut self) {
        self.uses = self.uses.saturating_add(1);
    }

    /// The connection of one that was idle.
    #[inline]
    pub(super) fn take(&mut self, now: Time) -> T {
        match std::mem::replace(&mut self.whereabouts, Whereabouts::Out { since: now }) {
            Whereabouts::Here(connection) => connection,
            Whereabouts::Out { .. } => unreachable!("an idle slot holds its connection"),
        }
    }

    /// The connection is home.
    #[inline]
    pub(super) fn put(&mut self, connection: T) {
        self.note(Whereabouts::Here(connection));
    }

    /// Of one that was out until now.
    #[inline]
    fn note(&mut self, whereabouts: Whereabouts<T>) {
        debug_assert!(self.taken().is_some());
        // A time needs no drop; to find out that it is one would be a step of the hot path.
        std::mem::forget(std::mem::replace(&mut self.whereabouts, whereabouts));
    }

    /// Since when it is out.
    pub(super) fn taken(&self) -> Option<Time> {
        match self.whereabouts {
            Whereabouts::Here(_) => None,
            Whereabouts::Out { since } => Some(since),
        }
    }
}

#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: SlotId,
    used: usize,
    next_id: u64,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: SlotId::NONE,
            used: 0,
            next_id: 1,
        }
    }

    /// Slots taken, whatever their phase.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// The number the next connection will have.
    pub(super) fn next_number(&self) -> u64 {
        self.next_id
    }

    /// Takes a free slot for a connection to be, and gives the connection its number.
    pub(super) fn occupy(&mut self, max_size: usize) -> SlotId {
        if self.free == SlotId::NONE {
            self.free =
                SlotId(u32::try_from(self.slots.len()).expect("max_size is below u32::MAX"));
            if self.slots.len() == self.slots.capacity() {
                // Doubled, as a vector grows by itself, half of a large pool's memory would be for nobody.
                let spare = self.slots.len() / 8 + 4;
                let wanted = max_size.saturating_sub(self.slots.len());
                self.slots.reserve_exact(spare.min(wanted));
            }
            self.slots.push(Slot {
                phase: Phase::Free,
                aside: false,
                jitter: 0,
                uses: 0,
                older: SlotId::NONE,
                newer: SlotId::NONE,
                id: 0,
                born: Time::START,
                expires: Time::NEVER,
                idle_since: Time::START,
                whereabouts: Whereabouts::Out { since: Time::START },
            });
        }
        let id = self.free;
        let number = self.next_id;
        let slot = self.at(id);
        debug_assert_eq!(slot.phase, Phase::Free);
        slot.phase = Phase::Connecting;
        slot.uses = 0;
        slot.id = number;
        self.free = slot.older;
        self.next_id += 1;
        self.used += 1;
        id
    }

    /// Gives the number of a connection to be to a slot that is taken.
    pub(super) fn renumber(&mut self, id: SlotId) -> u64 {
        let number = self.next_id;
        self.next_id += 1;
        let slot = self.at(id);
        slot.uses = 0;
        slot.id = number;
        number
    }

    pub(super) fn release(&mut self, id: SlotId) {
        let free = self.free;
        let slot = self.at(id);
        debug_assert_ne!(slot.phase, Phase::Free);
        debug_assert!(slot.taken().is_some());
        slot.phase = Phase::Free;
        slot.older = free;
        self.free = id;
        self.used -= 1;
    }

    #[inline]
    pub(super) fn at(&mut self, id: SlotId) -> &mut Slot<T> {
        &mut self.slots[id.0 as usize]
    }

    #[inline]
    pub(super) fn get(&self, id: SlotId) -> &Slot<T> {
        &self.slots[id.0 as usize]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (SlotId, &Slot<T>)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(index, slot)| (SlotId(index as u32), slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_few_more_slots_than_were_ever_taken_and_no_more_than_may_be() {
        const MOST: usize = 10_000;
        let mut slots = Slots::<u64>::new();
        for taken in 1..=MOST {
            slots.occupy(MOST);
            assert!(slots.slots.capacity() <= MOST.min(taken + taken / 8 + 4));
        }
    }

    #[test]
    fn a_slot_with_a_connection_of_eight_bytes_fits_a_cache_line() {
        /// As what is pooled: a connection and a pointer to its watch.
        type Live<C> = (C, std::sync::Arc<()>);
        assert_eq!(size_of::<Slot<Live<u64>>>(), 64);
        assert_eq!(size_of::<Slot<Live<[u64; 4]>>>(), 64 + 24);
    }
}
