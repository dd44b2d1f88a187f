//! A checkout that does not wait: one look at the idle set.

use std::borrow::Borrow;
use std::panic::Location;
use std::sync::Arc;

use crate::error::TryCheckoutError;
use crate::lease::{Exam, Lease};
use crate::manager::Manager;
use crate::reason::CloseReason;
use crate::shared::Shared;
use crate::state::Lent;

/// An idle connection, if one is fit. Otherwise one is dialled for the next time, if there is room.
pub(crate) fn try_checkout<M: Manager, H: Borrow<Arc<Shared<M>>> + Clone>(
    home: H,
    place: &'static Location<'static>,
) -> Result<Lease<M, H>, TryCheckoutError> {
    let shared = home.borrow();
    loop {
        let taken = shared.check_out().or_else(|| {
            shared.update(|state, now, effects| {
                let lent = state.take(now, effects);
                if lent.is_none() {
                    state.prepare_one(now, effects);
                }
                lent
            })
        });
        let Some(Lent { slot, value }) = taken else {
            if shared.is_one_of_many() {
                // What could not be dialled at once is not waited for.
                shared.update(|state, _, _| state.unprepare());
            }
            let status = shared.status();
            return Err(match status.is_closed {
                true => TryCheckoutError::Closed,
                false => TryCheckoutError::Empty(status),
            });
        };
        let mut lease = Lease::unjudged(home.clone(), slot, value, CloseReason::Dropped);
        if !lease.vet() {
            continue;
        }
        if !shared.plain {
            let mut exam = lease.examine();
            if let Exam::Waits(due) = exam {
                // What has to wait is left out: nobody waits here.
                let info = lease.info();
                exam = lease.judge_now(due, &info);
            }
            if let Exam::Refused = exam {
                continue;
            }
            lease.announce(shared.clock.exact(), place);
        }
        return Ok(lease);
    }
}
