//! What is done to find out whether a rule is kept.

mod close;
mod dial;
mod home;
mod pool;
mod probe;

use super::rule::Rule;
use super::trial::{Outcome, Trial};
use crate::manager::Manager;

pub(super) async fn check<M: Manager>(rule: Rule, trial: &Trial<M>) -> Outcome {
    match rule {
        Rule::ConnectConnects => dial::connects(trial).await,
        Rule::FreshIsAlive => probe::fresh_is_alive(trial).await,
        Rule::LookingChangesNothing => probe::looking_changes_nothing(trial).await,
        Rule::HangUpWakes => probe::hang_up_wakes(trial).await,
        Rule::NothingWakesNobody => probe::nothing_wakes_nobody(trial).await,
        Rule::DeadStaysDead => probe::dead_stays_dead(trial).await,
        Rule::KernelIsAsked => probe::kernel_is_asked(trial).await,
        Rule::UnaskedBytesAreNoticed => probe::unasked_bytes_are_noticed(trial).await,
        Rule::BudgetIsNoExcuse => probe::budget_is_no_excuse(trial).await,
        Rule::CancelledDialLeavesNothing => dial::cancelled_leaves_nothing(trial).await,
        Rule::SilenceIsBorne => dial::silence_is_borne(trial).await,
        Rule::CloseCloses => close::close_closes(trial).await,
        Rule::DropCloses => close::drop_closes(trial).await,
        Rule::OrderIsKept => home::order_is_kept(trial).await,
        Rule::AbandonedIsNotKept => home::abandoned_is_not_kept(trial).await,
        Rule::PoolEvicts => pool::evicts(trial).await,
        Rule::MaxSizeHolds => pool::max_size_holds(trial).await,
        Rule::DroppedPoolLeavesNothing => pool::dropped_leaves_nothing(trial).await,
        Rule::NothingPanics => unreachable!("it is judged by all the others"),
    }
}
