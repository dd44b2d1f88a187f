//! A caller's connection is replaced by another in its slot, which stays his meanwhile.
//!
//! ```text
//!               discarded           socket closed               renewed
//!   in use ──────────────► closing ──────────────► renewing ──────────────► in use, by the same caller
//!                                                      │ failed, ended
//!                                                      ▼
//!                                                 (free slot)
//! ```
//!
//! A dial that is somebody's already is no supply for those who wait, so it is not among `connecting`.

use super::slots::{Phase, SlotId};
use super::time::Time;
use super::{Effects, Grant, State};

impl<T, E: Clone> State<T, E> {
    /// The socket of a connection that was given up is closed, and its slot is for another: answers with its number. If the
    /// pool was closed meanwhile there is none, and nothing happens.
    pub(crate) fn begin_renewal(&mut self, id: SlotId) -> Option<u64> {
        if self.closed {
            return None;
        }
        let number = self.slots.renumber(id);
        let slot = self.slots.at(id);
        debug_assert_eq!(slot.phase, Phase::Closing);
        slot.phase = Phase::Renewing;
        self.closing -= 1;
        self.renewing += 1;
        Some(number)
    }

    /// Its dial succeeded.
    pub(crate) fn renewed(
        &mut self,
        id: SlotId,
        now: Time,
        random: u64,
        effects: &mut Effects<T, E>,
    ) {
        self.renewing -= 1;
        self.check_over(id, effects);
        self.begin_life(id, now, random, effects);
        self.settle(now, effects);
    }

    /// Its caller has it, who may have left instead.
    pub(crate) fn received(&mut self, id: SlotId, now: Time) {
        self.hand_out(id, now);
    }

    /// Its dial failed.
    pub(crate) fn renewal_failed(
        &mut self,
        id: SlotId,
        error: E,
        permanent: bool,
        now: Time,
        random: u64,
        effects: &mut Effects<T, E>,
    ) {
        self.totals.connect_failures += 1;
        (effects.pause, effects.error) =
            self.outages
                .failed(error.clone(), permanent, false, now, random);
        if permanent || self.limits.fail_at_once {
            self.tell_all(|| Grant::Failed(error.clone(), now), effects);
        }
        self.end_renewal(id, now, effects);
    }

    /// There will be no connection.
    pub(crate) fn end_renewal(&mut self, id: SlotId, now: Time, effects: &mut Effects<T, E>) {
        debug_assert_eq!(self.slots.get(id).phase, Phase::Renewing);
        self.renewing -= 1;
        self.release(id, effects);
        self.check_over(id, effects);
        self.settle(now, effects);
    }
}
