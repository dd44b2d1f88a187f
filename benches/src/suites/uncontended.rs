//! What a checkout and a check-in cost when nobody else wants the pool.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::unconstrained;

use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{
    Contender, FLOOR, NOTHING, OURS, OURS_OWNED, Question, everybody_alone, fill,
};
use crate::findings::{Finding, Plot, Table, Target, digits, is_ours};
use crate::rounds::{Entrant, Plan, Record, Slice, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "uncontended",
    question: "What does a checkout cost when nobody else wants the pool?",
    measure,
};

/// Connections in each pool, all of them idle.
const SIZE: usize = 4;

/// Cycles between two looks at the clock.
const BATCH: u64 = 500;

/// One task that checks out and in, in a loop.
struct Alone(Rc<Runtime>);

impl Question for Alone {
    type Answer = Entrant;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Entrant {
        let runtime = Rc::clone(&self.0);
        runtime.block_on(fill(&contender, SIZE));
        Entrant::new(name, move |_, about| {
            // Otherwise tokio's scheduler would be asked once in 128 cycles, which is no pool's doing.
            runtime.block_on(unconstrained(cycle_for(&contender, about)))
        })
    }
}

async fn cycle_for<C: Contender>(contender: &C, about: Duration) -> Slice {
    let start = now();
    let mut cycles = 0;
    loop {
        cycle(contender, BATCH).await;
        cycles += BATCH;
        let took = start.elapsed();
        if took >= about {
            return Slice {
                took,
                cycles,
                ..Slice::default()
            };
        }
    }
}

/// Checks out and in so many times.
pub(super) async fn cycle<C: Contender>(contender: &C, cycles: u64) {
    for _ in 0..cycles {
        let mut guard = contender.checkout().await.expect("it is idle");
        black_box(&mut *guard);
    }
}

/// All contenders, ready to work.
pub fn entrants() -> Vec<Entrant> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = Rc::new(runtime.expect("a runtime can be built"));
    everybody_alone(&runtime, SIZE, &Alone(Rc::clone(&runtime)))
}

fn measure(effort: &Effort) -> Finding {
    let plan = Plan {
        rounds: effort.pick(101, 401),
        whole: Duration::from_millis(1),
        each: Duration::ZERO,
    };
    let records = play(&mut entrants(), plan);
    let (floor, ours) = (of(&records, FLOOR), of(&records, OURS));
    let mut table = Table::new(
        format!(
            "Medians of {} shuffled rounds of 1 ms, and of the ratios in each",
            plan.rounds
        ),
        &["", "ns", "of FLOOR", "of ours"],
    );
    let nanos = |record: &Record| record.median(|round| round.nanos);
    for record in &records {
        table.row([
            record.name.to_string(),
            digits(nanos(record)),
            digits(record.ratio(floor, |round| round.nanos)),
            digits(record.ratio(ours, |round| round.nanos)),
        ]);
    }
    let plot = Plot {
        title: "Checkout and check-in, ns (less is better)".into(),
        bars: records
            .iter()
            .map(|record| (record.name.to_string(), nanos(record)))
            .collect(),
        mark: Some(nanos(floor)),
    };
    Finding {
        seen: seen(&records),
        method: vec![
            "One task on a current-thread runtime, four idle connections that are numbers, no pause between two cycles. \
             Ours with its deadline of 30 s, its probe, its limits of age and its maintenance task, as by default."
                .into(),
        ],
        tables: vec![table],
        plots: vec![plot],
        targets: targets(&records),
    }
}

/// The fastest pool of others whose waiters do not hang.
fn fastest_rival(records: &[Record]) -> &Record {
    let rivals = records.iter().filter(|record| {
        let name = record.name.to_lowercase();
        let others = ["floor", "qp", NOTHING];
        !is_ours(&name) && !others.iter().any(|other| name.starts_with(other))
    });
    let nanos = |record: &&Record| record.median(|round| round.nanos);
    let fastest = rivals.min_by(|one, other| nanos(one).total_cmp(&nanos(other)));
    fastest.expect("there are rivals")
}

fn seen(records: &[Record]) -> String {
    let (ours, rival) = (of(records, OURS), fastest_rival(records));
    format!(
        "Ours takes {} ns, {} of FLOOR's time; the fastest rival whose waiters do not hang, {}, {} ns.",
        digits(ours.median(|round| round.nanos)),
        digits(ours.ratio(of(records, FLOOR), |round| round.nanos)),
        rival.name,
        digits(rival.median(|round| round.nanos)),
    )
}

fn targets(records: &[Record]) -> Vec<Target> {
    let floor = of(records, FLOOR);
    let within = |name, most: f64| {
        let ratio = of(records, name).ratio(floor, |round| round.nanos);
        Target::new(
            format!("uncontended: {name}: at most {most:.2} of FLOOR's time"),
            digits(ratio),
            ratio <= most,
        )
    };
    let rival = fastest_rival(records);
    let speed = rival.ratio(of(records, OURS), |round| round.nanos);
    vec![
        within(OURS, 0.75),
        within(OURS_OWNED, 1.0),
        Target::new(
            "uncontended: at least 3 times as fast as the fastest rival whose waiters do not hang",
            format!("{} times ({})", digits(speed), rival.name),
            speed >= 3.0,
        ),
    ]
}
