//! The checks of a pool, sorted by occasion, and how one is run so that it costs no more than its connection.

use std::sync::Arc;
use std::time::Duration;

use crate::error::rounded;
use crate::health::{AtCheckout, Check, Judge, Unhealthy};
use crate::pooled::ConnectionInfo;
use crate::shared::caught;
use crate::state::CheckSet;
use crate::tasks::{caught_future, limited};

/// Checks are named by their bit in a [`CheckSet`].
pub(crate) const MOST_CHECKS: usize = CheckSet::BITS as usize;

pub(crate) struct Checks<C> {
    checks: Vec<Check<C>>,
    pub(crate) after_connect: CheckSet,
    at_checkout: CheckSet,
    pub(crate) at_checkin: CheckSet,
    /// Those that run while a connection is idle, in the order in which the state knows them.
    while_idle: Vec<CheckSet>,
    asynchronous: CheckSet,
}

impl<C: Send + 'static> Checks<C> {
    pub(crate) fn new(checks: Vec<Check<C>>) -> Self {
        let all = |wanted: &dyn Fn(&Check<C>) -> bool| {
            let bits = checks.iter().enumerate();
            bits.filter(|(_, check)| wanted(check))
                .fold(0, |set, (bit, _)| set | 1 << bit)
        };
        Self {
            after_connect: all(&|check| check.when.after_connect),
            at_checkout: all(&|check| check.when.at_checkout != AtCheckout::default()),
            at_checkin: all(&|check| check.when.at_checkin),
            asynchronous: all(&|check| matches!(check.judge, Judge::Async(_))),
            while_idle: (0..checks.len())
                .filter(|&bit| checks[bit].when.while_idle.is_some())
                .map(|bit| 1 << bit)
                .collect(),
            checks,
        }
    }

    /// Whether none has to do with connections that go out or come home.
    pub(crate) fn are_aside(&self) -> bool {
        self.at_checkout | self.at_checkin == 0
    }

    /// The periods of those that run while a connection is idle, in nanoseconds.
    pub(crate) fn periods(&self) -> Vec<u64> {
        self.checks
            .iter()
            .filter_map(|check| check.when.while_idle)
            .map(|period| u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
            .collect()
    }

    /// What the state calls due on an idle connection, in our bits.
    pub(crate) fn while_idle(&self, due: CheckSet) -> CheckSet {
        let places = self.while_idle.iter().enumerate();
        places
            .filter(|(place, _)| due & (1 << place) != 0)
            .fold(0, |set, (_, bit)| set | bit)
    }

    /// What is to run before this connection is handed out.
    pub(crate) fn at_checkout(
        &self,
        info: &ConnectionInfo,
        mut is_unsure: impl FnMut() -> bool,
    ) -> CheckSet {
        let mut unsure = None;
        let mut due = 0;
        for (bit, check) in self.checks.iter().enumerate() {
            let AtCheckout {
                always,
                if_idle_for,
                if_unsure,
            } = check.when.at_checkout;
            let runs = always
                || if_idle_for.is_some_and(|limit| info.idle_for > limit)
                || if_unsure && *unsure.get_or_insert_with(&mut is_unsure);
            due |= CheckSet::from(runs) << bit;
        }
        due
    }

    /// Whether one of them may have to wait.
    pub(crate) fn wait(&self, due: CheckSet) -> bool {
        due & self.asynchronous != 0
    }

    /// Runs those of `due` that do not wait.
    pub(crate) fn judge_now(
        &self,
        due: CheckSet,
        connection: &mut C,
        info: &ConnectionInfo,
    ) -> Result<(), Unhealthy> {
        self.due(due).try_for_each(|check| match &check.judge {
            Judge::Sync(judge) => check.blame(
                caught(|| judge(connection, info)).unwrap_or_else(|| Err(Unhealthy::new(PANICKED))),
            ),
            Judge::Async(_) => Ok(()),
        })
    }

    /// Runs all of `due`, in the order in which they were plugged in, each within its own limit.
    pub(crate) async fn judge(
        self: &Arc<Self>,
        due: CheckSet,
        connection: &mut C,
        info: &ConnectionInfo,
    ) -> Result<(), Unhealthy> {
        for check in self.due(due) {
            let verdict = match &check.judge {
                Judge::Sync(judge) => caught(|| judge(connection, info))
                    .unwrap_or_else(|| Err(Unhealthy::new(PANICKED))),
                Judge::Async(judge) => {
                    // Made within the guarded future: the call itself may panic.
                    let run = caught_future(async { judge.check(connection, info).await });
                    match limited(check.limit, run).await {
                        Some(Ok(verdict)) => verdict,
                        Some(Err(message)) => Err(Unhealthy::new(format!("{PANICKED}: {message}"))),
                        None => Err(Unhealthy::new(too_slow(check.limit))),
                    }
                }
            };
            check.blame(verdict)?;
        }
        Ok(())
    }

    fn due(&self, due: CheckSet) -> impl Iterator<Item = &Check<C>> {
        let bits = self.checks.iter().enumerate();
        bits.filter(move |(bit, _)| due & (1 << bit) != 0)
            .map(|(_, check)| check)
    }
}

const PANICKED: &str = "the check panicked";

fn too_slow(limit: Duration) -> String {
    format!("the check did not end within {}", rounded(limit))
}
