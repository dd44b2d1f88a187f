//! Two threads that do nothing but check out and in, on one pool: what a second core adds.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::task::unconstrained;

use super::uncontended::cycle;
use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{Contender, OURS, Question, everybody_alone, fill};
use crate::crowd::Threads;
use crate::findings::{Finding, Plot, Table, Target, digits};
use crate::rounds::{Entrant, Plan, Record, Round, Slice, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "two_cores",
    question: "Two threads in a tight loop on one pool: what does the second core add?",
    measure,
};

/// Connections in each pool.
const SIZE: usize = 16;

/// Cycles between two looks at whether to stop.
const BATCH: u64 = 64;

/// So many threads in a tight loop.
struct Loops {
    threads: usize,
    runtime: Rc<Runtime>,
}

impl Question for Loops {
    type Answer = Entrant;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Entrant {
        let (threads, runtime) = (self.threads, Rc::clone(&self.runtime));
        let contender = Arc::new(contender);
        runtime.block_on(fill(&*contender, SIZE));
        Entrant::new(name, move |_, about| {
            run(&*contender, threads, runtime.handle(), about)
        })
    }
}

fn run<C: Contender>(contender: &C, threads: usize, runtime: &Handle, about: Duration) -> Slice {
    let (stop, together) = (AtomicBool::new(false), Barrier::new(threads + 1));
    let work = || {
        together.wait();
        runtime.block_on(unconstrained(async {
            let mut cycles = 0;
            while !stop.load(Relaxed) {
                cycle(contender, BATCH).await;
                cycles += BATCH;
            }
            cycles
        }))
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        together.wait();
        let start = now();
        thread::sleep(about);
        stop.store(true, Relaxed);
        let shares = workers.into_iter().map(|worker| worker.join());
        let shares: Vec<u64> = shares.map(|cycles| cycles.expect("no panic")).collect();
        Slice {
            took: start.elapsed(),
            cycles: shares.iter().sum(),
            shares,
            ..Slice::default()
        }
    })
}

/// All contenders, ready to work on so many threads.
pub fn entrants(threads: usize) -> Vec<Entrant> {
    // Two workers, which sleep: some pools put connections back in tasks.
    let runtime = Threads::Two.runtime();
    let loops = Loops {
        threads,
        runtime: Rc::clone(&runtime),
    };
    everybody_alone(&runtime, SIZE, &loops)
}

fn measure(effort: &Effort) -> Finding {
    let plan = Plan {
        rounds: effort.pick(7, 25),
        // Long enough for the second thread to find a core of its own.
        whole: Duration::from_millis(effort.pick(20, 40)),
        each: Duration::ZERO,
    };
    // All in one list, so that the rounds of one thread and of two are shuffled together.
    let (mut entrants, two) = (entrants(1), entrants(2));
    let contenders = entrants.len();
    entrants.extend(two);
    let records = play(&mut entrants, plan);
    let (one, two) = records.split_at(contenders);
    let mut table = Table::new(
        format!(
            "Medians of {} shuffled rounds of {} ms, and of the ratios in each; {SIZE} connections",
            plan.rounds,
            plan.whole.as_millis()
        ),
        &["", "one, M/s", "two, M/s", "two over one", "luck"],
    );
    for (one, two) in one.iter().zip(two) {
        table.row([
            one.name.to_string(),
            digits(one.median(rate)),
            digits(two.median(rate)),
            digits(two.ratio(one, rate)),
            digits(two.median(|round| round.luck)),
        ]);
    }
    let bar = |(one, two): (&Record, &Record)| (one.name.to_string(), two.ratio(one, rate));
    let gain = of(two, OURS).ratio(of(one, OURS), rate);
    Finding {
        seen: format!(
            "Ours does {} times as much on two cores as on one.",
            digits(gain)
        ),
        method: vec![
            "Threads that block on the checkout and never yield; the two of them meet at nothing but the pool.".into(),
        ],
        tables: vec![table],
        plots: vec![Plot {
            title: "What two threads get done over what one does (more is better)".into(),
            bars: one.iter().zip(two).map(bar).collect(),
            mark: Some(1.0),
        }],
        targets: vec![Target::new(
            "two cores in a tight loop on one pool: at least 1.2 times one core",
            digits(gain),
            gain >= 1.2,
        )],
    }
}

fn rate(round: &Round) -> f64 {
    1e3 / round.nanos
}
