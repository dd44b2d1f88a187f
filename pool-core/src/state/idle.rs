//! The idle set: one list threaded through the slots, oldest check-in at one end and newest at the other.
//!
//! Last in, first out takes the newest, first in, first out the oldest; the next to be reaped is always the oldest;
//! any one can be taken out of the middle. Nothing here looks at more than it was asked for.

use super::slots::{Phase, Slot, SlotId, Slots};

#[derive(Debug)]
pub(super) struct Idle {
    oldest: SlotId,
    newest: SlotId,
    len: usize,
    /// Connections passed by in search of a place.
    #[cfg(test)]
    pub(super) passed: usize,
}

impl Idle {
    pub(super) fn new() -> Self {
        Self {
            oldest: SlotId::NONE,
            newest: SlotId::NONE,
            len: 0,
            #[cfg(test)]
            passed: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn oldest(&self) -> Option<SlotId> {
        (self.oldest != SlotId::NONE).then_some(self.oldest)
    }

    #[inline]
    pub(super) fn newest(&self) -> Option<SlotId> {
        (self.newest != SlotId::NONE).then_some(self.newest)
    }

    /// Adds one that came home just now.
    #[inline(always)]
    pub(super) fn push_newest<'a, T>(
        &mut self,
        slots: &'a mut Slots<T>,
        id: SlotId,
    ) -> &'a mut Slot<T> {
        let older = std::mem::replace(&mut self.newest, id);
        match older {
            SlotId::NONE => self.oldest = id,
            older => slots.at(older).newer = id,
        }
        self.len += 1;
        let slot = slots.at(id);
        slot.older = older;
        slot.newer = SlotId::NONE;
        slot.phase = Phase::Idle;
        slot
    }

    /// Puts one back where its age belongs: at the newest end if it came home just now, beside the neighbour it had if it
    /// was only looked at. The search goes down from that end and up from that neighbour, a step each in turn.
    pub(super) fn put_back<T>(&mut self, slots: &mut Slots<T>, id: SlotId) {
        let (since, neighbour) = (slots.get(id).idle_since, slots.get(id).older);
        let is_older = |at: SlotId| at == SlotId::NONE || slots.get(at).idle_since <= since;
        // The neighbour may have gone meanwhile, and its slot may be another's by now.
        let is_listed = |at: SlotId| at == SlotId::NONE || slots.get(at).phase == Phase::Idle;
        let mut up = (is_listed(neighbour) && is_older(neighbour)).then_some(neighbour);
        let mut down = self.newest;
        let older = loop {
            if is_older(down) {
                break down;
            }
            down = slots.get(down).older;
            #[cfg(test)]
            {
                self.passed += 1;
            }
            let Some(at) = up else {
                continue;
            };
            let newer = match at {
                SlotId::NONE => self.oldest,
                at => slots.get(at).newer,
            };
            // Those that came home in the same moment may be many, and need not be passed.
            if newer == SlotId::NONE || slots.get(newer).idle_since >= since {
                break at;
            }
            up = Some(newer);
        };
        self.insert_after(slots, older, id);
    }

    /// Takes one out, for use.
    #[inline(always)]
    pub(super) fn remove<'a, T>(&mut self, slots: &'a mut Slots<T>, id: SlotId) -> &'a mut Slot<T> {
        let slot = slots.at(id);
        debug_assert_eq!(slot.phase, Phase::Idle);
        slot.phase = Phase::InUse;
        let (older, newer) = (slot.older, slot.newer);
        match older {
            SlotId::NONE => self.oldest = newer,
            older => slots.at(older).newer = newer,
        }
        match newer {
            SlotId::NONE => self.newest = older,
            newer => slots.at(newer).older = older,
        }
        self.len -= 1;
        slots.at(id)
    }

    fn insert_after<T>(&mut self, slots: &mut Slots<T>, older: SlotId, id: SlotId) {
        let newer = match older {
            SlotId::NONE => std::mem::replace(&mut self.oldest, id),
            older => std::mem::replace(&mut slots.at(older).newer, id),
        };
        match newer {
            SlotId::NONE => self.newest = id,
            newer => slots.at(newer).older = id,
        }
        let slot = slots.at(id);
        slot.older = older;
        slot.newer = newer;
        slot.phase = Phase::Idle;
        self.len += 1;
    }
}
