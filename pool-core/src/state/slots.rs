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

/// What the pool knows of one connection.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) phase: Phase,
    /// In use, but with no caller: it is being looked at, cleaned or checked.
    pub(super) aside: bool,
    /// How often it was checked out.
    pub(super) uses: u32,
    /// Neighbours in the idle list; `older` also links the free slots.
    pub(super) older: SlotId,
    pub(super) newer: SlotId,
    /// Unique in the life of the pool, unlike the slot.
    pub(super) id: u64,
    pub(super) born: Time,
    /// When it becomes too old.
    pub(super) too_old: Time,
    /// When it is to be given up: when it is too old, or earlier if it said so itself; at the start if it was retired.
    pub(super) expires: Time,
    /// Last check-in, also while it is in use: then the idle time before this use is `taken - idle_since`.
    pub(super) idle_since: Time,
    pub(super) taken: Time,
    /// Here while idle, elsewhere otherwise.
    pub(super) value: Option<T>,
}

impl<T> Slot<T> {
    /// To a caller.
    #[inline]
    pub(super) fn hand_out(&mut self, now: Time) {
        self.taken = now;
        self.uses = self.uses.saturating_add(1);
    }

    /// The connection of one that was idle.
    #[inline]
    pub(super) fn take(&mut self) -> T {
        self.value
            .take()
            .expect("an idle slot holds its connection")
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
    pub(super) fn occupy(&mut self) -> SlotId {
        if self.free == SlotId::NONE {
            self.free =
                SlotId(u32::try_from(self.slots.len()).expect("max_size is below u32::MAX"));
            if self.slots.len() == self.slots.capacity() {
                // Doubled, as a vector grows by itself, half of a large pool's memory would be for nobody.
                self.slots.reserve_exact(self.slots.len() / 8 + 4);
            }
            self.slots.push(Slot {
                phase: Phase::Free,
                aside: false,
                uses: 0,
                older: SlotId::NONE,
                newer: SlotId::NONE,
                id: 0,
                born: Time::START,
                too_old: Time::NEVER,
                expires: Time::NEVER,
                idle_since: Time::START,
                taken: Time::START,
                value: None,
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
        debug_assert!(slot.value.is_none());
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
    fn there_are_few_more_slots_than_were_ever_taken() {
        let mut slots = Slots::<u64>::new();
        for taken in 1..=10_000 {
            slots.occupy();
            assert!(slots.slots.capacity() <= taken + taken / 8 + 4);
        }
    }
}
