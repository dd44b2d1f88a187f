//! More connections than tasks: nobody has to wait, but all meet at the lock.

use std::time::Duration;

use super::{Effort, Suite, contended};
use crate::contenders::{FLOOR, NOTHING, OURS, everybody_alone};
use crate::crowd::{Crowd, Serve, Threads};
use crate::findings::{Finding, Plot, digits};
use crate::rounds::{Entrant, Plan, Record, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "plenty",
    question: "More connections than tasks: what does the pool cost when nobody waits?",
    measure,
};

/// With twice as many connections as tasks.
pub fn crowds() -> impl Iterator<Item = Crowd> {
    [2, 8, 64].into_iter().map(|tasks| Crowd {
        tasks,
        size: 2 * tasks,
        threads: Threads::Two,
    })
}

/// All contenders, ready to serve this crowd.
pub fn entrants(crowd: Crowd) -> Vec<Entrant> {
    let runtime = crowd.threads.runtime();
    let serve = Serve(crowd, runtime.clone());
    everybody_alone(&runtime, crowd.size, &serve)
}

fn measure(effort: &Effort) -> Finding {
    let mut finding = Finding {
        method: vec![
            "As contended, with twice as many connections as tasks. \"no pool\" yields and does nothing else.".into(),
        ],
        ..Finding::default()
    };
    for crowd in crowds() {
        effort.say(&crowd.in_words());
        let plan = Plan {
            rounds: effort.pick(5, 31),
            whole: Duration::from_millis(effort.pick(10, 20)),
            each: Duration::from_millis(effort.pick(5, 10)),
        };
        let records = play(&mut entrants(crowd), plan);
        finding.tables.push(contended::table(crowd, plan, &records));
        finding.plots.push(plot(crowd, &records));
        finding.seen.push_str(&seen(crowd, &records));
    }
    finding
}

fn rate(record: &Record) -> f64 {
    record.median(|round| 1e3 / round.nanos)
}

fn plot(crowd: Crowd, records: &[Record]) -> Plot {
    let bar = |record: &Record| (record.name.to_string(), rate(record));
    Plot {
        title: format!("{}: M cycles a second (more is better)", crowd.in_words()),
        bars: records.iter().map(bar).collect(),
        mark: Some(rate(of(records, FLOOR))),
    }
}

fn seen(crowd: Crowd, records: &[Record]) -> String {
    let rate = |name| digits(rate(of(records, name)));
    format!(
        "{} tasks: ours {} M/s, FLOOR {}, a yield alone {}. ",
        crowd.tasks,
        rate(OURS),
        rate(FLOOR),
        rate(NOTHING),
    )
}
