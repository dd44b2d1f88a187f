//! The idle set: one list threaded through the slots, oldest check-in at one end and newest at the other.
//!
//! Last in, first out takes the newest, first in, first out the oldest; the next to be reaped is always the oldest;
//! any one can be taken out of the middle. Nothing here looks at more than it was asked for.

use super::slots::{Phase, SlotId, Slots};

#[derive(Debug)]
pub(super) struct Idle {
    oldest: SlotId,
    newest: SlotId,
    len: usize,
}

impl Idle {
    pub(super) fn new() -> Self {
        Self {
            oldest: SlotId::NONE,
            newest: SlotId::NONE,
            len: 0,
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
    #[inline]
    pub(super) fn push_newest<T>(&mut self, slots: &mut Slots<T>, id: SlotId) {
        self.insert_after(slots, self.newest, id);
    }

    /// Puts one back where its age belongs; it was away for a moment, so that is near where it was taken.
    pub(super) fn put_back<T>(&mut self, slots: &mut Slots<T>, id: SlotId) {
        let since = slots.get(id).idle_since;
        let mut older = self.newest;
        while older != SlotId::NONE && slots.get(older).idle_since > since {
            older = slots.get(older).older;
        }
        self.insert_after(slots, older, id);
    }

    #[inline]
    pub(super) fn remove<T>(&mut self, slots: &mut Slots<T>, id: SlotId) {
        let slot = slots.at(id);
        debug_assert_eq!(slot.phase, Phase::Idle);
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
    }

    #[inline]
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
