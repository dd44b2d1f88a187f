//! What happened since the pool was built.

use crate::reason::CloseReason;

#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connected: u64,
    pub(crate) connect_failures: u64,
    pub(crate) checkouts: u64,
    pub(crate) waited: u64,
    pub(crate) timed_out: u64,
    pub(crate) cancelled: u64,
    pub(crate) refused: u64,
    pub(crate) detached: u64,
    /// Given up, by reason.
    pub(crate) closed: [u64; CloseReason::ALL.len()],
}

impl Totals {
    #[inline]
    pub(super) fn given_up(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }
}
