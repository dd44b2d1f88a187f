//! What the suites on real servers share: users who ask in a loop, and the figures of it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Effort;
use crate::clock::now;
use crate::crowd::{User, gather, nanos};
use crate::findings::{Plot, Table, digits};
use crate::rounds::{Clocked, Entrant, Plan, Record, of};

/// Asks once; the server is believed to answer.
pub(super) trait Ask: Clone + Send + Sync + 'static {
    fn ask(&self) -> impl Future<Output = ()> + Send;
}

/// So many users who ask in a loop.
pub(super) fn entrant(
    name: &'static str,
    users: usize,
    runtime: &Rc<Runtime>,
    asked: impl Ask,
) -> Entrant {
    let runtime = Rc::clone(runtime);
    Entrant::new(name, move |clocked, about| {
        let user = |stop| ask_in_a_loop(asked.clone(), clocked, stop);
        runtime.block_on(gather(users, about, user))
    })
}

async fn ask_in_a_loop(asked: impl Ask, clocked: Clocked, stop: Arc<AtomicBool>) -> User {
    let mut user = User::default();
    while !stop.load(Relaxed) {
        let start = (clocked == Clocked::EachCheckout).then(now);
        asked.ask().await;
        user.waits.extend(start.map(|start| nanos(start.elapsed())));
        user.cycles += 1;
    }
    user
}

/// Enough rounds for a ratio to be trusted.
pub(super) fn plan(effort: &Effort) -> Plan {
    Plan {
        rounds: effort.pick(7, 41),
        whole: Duration::from_millis(12),
        each: Duration::from_millis(8),
    }
}

/// Beside `bare`, which does without a pool, and `ours`.
pub(super) fn table(title: &str, plan: Plan, records: &[Record], bare: &str, ours: &str) -> Table {
    let mut table = Table::new(
        format!(
            "{title}; medians of {} shuffled rounds, and of the ratios of time in each",
            plan.rounds
        ),
        &[
            "",
            "\u{b5}s each",
            "k/s",
            "of no pool",
            "of ours",
            "luck",
            "p50 \u{b5}s",
            "p99 \u{b5}s",
            "p99.9 \u{b5}s",
        ],
    );
    for record in records {
        let ratio = |name| digits(record.ratio(of(records, name), |round| round.nanos));
        let wait = |rank: usize| digits(record.median(|round| round.waits[rank]) / 1e3);
        table.row([
            record.name.to_string(),
            digits(record.median(|round| round.nanos) / 1e3),
            digits(record.median(|round| 1e6 / round.nanos)),
            ratio(bare),
            ratio(ours),
            digits(record.median(|round| round.luck)),
            wait(0),
            wait(1),
            wait(2),
        ]);
    }
    table
}

/// How long each takes, marked where `bare` is.
pub(super) fn plot(title: &str, records: &[Record], bare: &str) -> Plot {
    let micros = |record: &Record| record.median(|round| round.nanos) / 1e3;
    let bar = |record: &Record| (record.name.to_string(), micros(record));
    Plot {
        title: format!("{title}: \u{b5}s each (less is better)"),
        bars: records.iter().map(bar).collect(),
        mark: Some(micros(of(records, bare))),
    }
}
