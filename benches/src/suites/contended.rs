//! Many tasks on few connections: throughput, and who pays for it.

use std::time::Duration;

use super::{Effort, Suite};
use crate::contenders::{BB8, DEADPOOL, FLOOR, Memory, OURS, Qp, Question, everybody};
use crate::crowd::{Crowd, Serve, Threads};
use crate::findings::{Finding, Plot, Table, Target, digits};
use crate::rounds::{Clocked, Entrant, Plan, Record, Round, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "contended",
    question: "Many tasks, few connections: how much gets done, and who waits for it?",
    measure,
};

/// Tasks and connections.
const CROWDS: [(usize, usize); 3] = [(64, 8), (1024, 8), (2000, 50)];

/// Every crowd on every runtime.
pub fn crowds() -> impl Iterator<Item = Crowd> {
    [Threads::Two, Threads::One]
        .into_iter()
        .flat_map(|threads| {
            CROWDS.into_iter().map(move |(tasks, size)| Crowd {
                tasks,
                size,
                threads,
            })
        })
}

/// All contenders, ready to serve this crowd.
pub fn entrants(crowd: Crowd) -> Vec<Entrant> {
    let runtime = crowd.threads.runtime();
    let serve = Serve(crowd, runtime.clone());
    everybody(&runtime, &Memory, crowd.size, &serve)
}

fn measure(effort: &Effort) -> Finding {
    let mut finding = Finding {
        method: vec![
            "Each task checks out, yields once while it holds the connection, and checks in, in a loop. Throughput comes from \
             slices in which no clock is read, waits from slices of their own in which every checkout is timed. Luck is \
             what the unluckiest task got done over what the luckiest did. A task hangs that has not ended 2 s after all \
             others have."
                .into(),
        ],
        ..Finding::default()
    };
    for crowd in crowds() {
        effort.say(&crowd.in_words());
        let plan = Plan {
            rounds: effort.pick(3, 15),
            // Long enough for luck to even out.
            whole: Duration::from_millis(effort.pick(30, 120)),
            each: Duration::from_millis(effort.pick(10, 20)),
        };
        let records = play(&mut entrants(crowd), plan);
        finding.tables.push(table(crowd, plan, &records));
        finding.plots.extend(plots(crowd, &records));
        if crowd.tasks == CROWDS[0].0 {
            finding.seen.push_str(&seen(crowd, &records));
        }
        // They are not about more tasks than that.
        if crowd.tasks <= 1024 {
            finding.targets.extend(targets(crowd, &records));
        }
    }
    finding.tables.push(hung());
    finding
}

fn throughput(round: &Round) -> f64 {
    1e3 / round.nanos
}

/// Shared with the suite in which nobody has to wait.
pub(super) fn table(crowd: Crowd, plan: Plan, records: &[Record]) -> Table {
    let floor = of(records, FLOOR);
    let ours = of(records, OURS);
    let mut table = Table::new(
        format!(
            "{}; medians of {} shuffled rounds, and of the ratios in each",
            crowd.in_words(),
            plan.rounds
        ),
        &[
            "",
            "M/s",
            "of FLOOR",
            "of ours",
            "luck",
            "p50 \u{b5}s",
            "p99 \u{b5}s",
            "p99.9 \u{b5}s",
            "longest \u{b5}s",
            "hung",
        ],
    );
    for record in records {
        let wait = |rank: usize| digits(record.median(|round| round.waits[rank]) / 1e3);
        let longest = record.most(|round| round.waits[3]) / 1e3;
        table.row([
            record.name.to_string(),
            digits(record.median(throughput)),
            digits(record.ratio(floor, throughput)),
            digits(record.ratio(ours, throughput)),
            digits(record.median(|round| round.luck)),
            wait(0),
            wait(1),
            wait(2),
            digits(longest),
            digits(record.most(|round| round.hung as f64)),
        ]);
    }
    table
}

fn plots(crowd: Crowd, records: &[Record]) -> [Plot; 2] {
    let bars = |of: &dyn Fn(&Record) -> f64| {
        let bar = |record: &Record| (record.name.to_string(), of(record));
        records.iter().map(bar).collect()
    };
    let floor = of(records, FLOOR);
    let p99 = |record: &Record| record.median(|round| round.waits[1]) / 1e3;
    [
        Plot {
            title: format!("{}: M cycles a second (more is better)", crowd.in_words()),
            bars: bars(&|record| record.median(throughput)),
            mark: Some(floor.median(throughput)),
        },
        Plot {
            title: format!("{}: p99 wait, \u{b5}s (less is better)", crowd.in_words()),
            bars: bars(&p99),
            mark: Some(p99(floor)),
        },
    ]
}

fn targets(crowd: Crowd, records: &[Record]) -> Vec<Target> {
    let (ours, floor) = (of(records, OURS), of(records, FLOOR));
    let deadpool = of(records, DEADPOOL);
    let crowd = crowd.in_words();
    let at_least = |what: &str, seen: f64, least: f64| {
        Target::new(format!("{crowd}: {what}"), digits(seen), seen >= least)
    };
    let luck = |record: &Record| record.median(|round| round.luck);
    let p99 = ours.ratio(floor, |round| round.waits[1]);
    let hung = ours.most(|round| round.hung as f64);
    vec![
        at_least(
            "at least FLOOR's throughput",
            ours.ratio(floor, throughput),
            1.0,
        ),
        at_least(
            "at least 1.3 times deadpool's throughput",
            ours.ratio(deadpool, throughput),
            1.3,
        ),
        Target::new(
            format!("{crowd}: p99 wait at most 1.1 of FLOOR's"),
            digits(p99),
            p99 <= 1.1,
        ),
        Target::new(
            format!("{crowd}: unluckiest over luckiest task at least 0.95"),
            format!("{} (FLOOR {})", digits(luck(ours)), digits(luck(floor))),
            luck(ours) >= 0.95,
        ),
        Target::new(format!("{crowd}: nobody hangs"), digits(hung), hung == 0.0),
    ]
}

/// What becomes of qp, which takes no part because it does not come to an end.
fn hung() -> Table {
    let mut table = Table::new(
        "qp takes no part: of its tasks so many were still waiting 2 s after all others had ended",
        &["", "tasks", "connections", "hung"],
    );
    for (tasks, size) in &CROWDS[..2] {
        let crowd = Crowd {
            tasks: *tasks,
            size: *size,
            threads: Threads::Two,
        };
        let serve = Serve(crowd, crowd.threads.runtime());
        let slice = serve
            .ask("qp", Qp::new(crowd.size))
            .work(Clocked::Whole, Duration::from_millis(50));
        table.row([
            "qp".to_string(),
            crowd.tasks.to_string(),
            crowd.size.to_string(),
            slice.hung.to_string(),
        ]);
    }
    table
}

fn seen(crowd: Crowd, records: &[Record]) -> String {
    let rate = |name| digits(of(records, name).median(throughput));
    let luck = |name| digits(of(records, name).median(|round| round.luck));
    format!(
        "{}: ours {} M/s, FLOOR {}, deadpool {}; the unluckiest task gets {} of what the luckiest does with ours, {} with bb8. ",
        crowd.in_words(),
        rate(OURS),
        rate(FLOOR),
        rate(DEADPOOL),
        luck(OURS),
        luck(BB8),
    )
}
