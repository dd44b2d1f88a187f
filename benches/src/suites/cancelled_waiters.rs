//! Callers who give up while they wait: what it costs, and whether a turn or a connection is lost with them.

use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::yield_now;

use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{Contender, FLOOR, Memory, OURS, Question, everybody, fill};
use crate::crowd::{Threads, User, gather, missing};
use crate::findings::{Finding, Plot, Table, Target, digits};
use crate::rounds::{Entrant, Plan, Record, Shuffle, Slice, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "cancelled_waiters",
    question: "Callers give up while they wait: what does it cost, and what is lost with them?",
    measure,
};

/// Connections in each pool.
const SIZE: usize = 8;

/// Tasks of which each gives up every second time it has to wait.
const TASKS: usize = 64;

/// Every second checkout is given up if it has to wait for longer than a yield takes.
struct Impatient(Rc<Runtime>);

impl Question for Impatient {
    type Answer = Entrant;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Entrant {
        let runtime = Rc::clone(&self.0);
        let contender = Arc::new(contender);
        runtime.block_on(fill(&*contender, SIZE));
        Entrant::new(name, move |_, about| {
            runtime.block_on(async {
                let user = |stop| give_up_half(Arc::clone(&contender), stop);
                let mut slice = gather(TASKS, about, user).await;
                slice.lost = missing(&*contender, SIZE).await;
                slice
            })
        })
    }
}

async fn give_up_half<C: Contender>(contender: Arc<C>, stop: Arc<AtomicBool>) -> User {
    let mut user = User::default();
    while !stop.load(Relaxed) {
        let checkout = contender.checkout();
        let served = match user.cycles > user.cancelled {
            true => tokio::select! {
                biased;
                served = checkout => Some(served),
                () = yield_now() => None,
            },
            false => Some(checkout.await),
        };
        let Some(served) = served else {
            user.cancelled += 1;
            continue;
        };
        let mut guard = served.expect("it can be had");
        black_box(&mut *guard);
        yield_now().await;
        drop(guard);
        user.cycles += 1;
    }
    user
}

/// While all connections are out, so many queue, and give up in any order.
struct Queue {
    waiters: usize,
    runtime: Rc<Runtime>,
}

impl Question for Queue {
    type Answer = Entrant;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Entrant {
        let (waiters, runtime) = (self.waiters, Rc::clone(&self.runtime));
        runtime.block_on(fill(&contender, SIZE));
        let mut order: Vec<usize> = (0..waiters).collect();
        Shuffle(1).shuffle(&mut order);
        Entrant::new(name, move |_, _| {
            let held = runtime.block_on(async {
                let mut held = Vec::new();
                for _ in 0..SIZE {
                    held.push(contender.checkout().await.expect("it is idle"));
                }
                held
            });
            let mut slice = queue_and_give_up(&contender, &order, &runtime);
            runtime.block_on(async {
                drop(held);
                slice.lost = missing(&contender, SIZE).await;
            });
            slice
        })
    }
}

/// A checkout that somebody has put on the heap to wait for it.
type Waiting<'a, C> = Pin<Box<dyn Future<Output = Outcome<'a, C>> + 'a>>;

type Outcome<'a, C> = Result<<C as Contender>::Guard<'a>, <C as Contender>::Error>;

fn queue_and_give_up<C: Contender>(contender: &C, order: &[usize], runtime: &Runtime) -> Slice {
    // Outside a task, so that tokio's budget for one does not run out.
    let _entered = runtime.enter();
    let waiting = order.iter().map(|_| {
        let checkout: Waiting<'_, C> = Box::pin(contender.checkout());
        Some(checkout)
    });
    let mut waiting: Vec<_> = waiting.collect();
    let mut cx = Context::from_waker(Waker::noop());
    let start = now();
    for checkout in waiting.iter_mut().flatten() {
        assert!(checkout.as_mut().poll(&mut cx).is_pending(), "all are out");
    }
    for &place in order {
        waiting[place] = None;
    }
    Slice {
        took: start.elapsed(),
        cycles: order.len() as u64,
        ..Slice::default()
    }
}

/// All contenders, ready to serve the impatient.
pub fn impatient() -> Vec<Entrant> {
    let runtime = Threads::Two.runtime();
    everybody(&runtime, &Memory, SIZE, &Impatient(runtime.clone()))
}

/// All contenders, ready to be queued at by so many.
pub fn queues(waiters: usize) -> Vec<Entrant> {
    let runtime = Threads::One.runtime();
    let queue = Queue {
        waiters,
        runtime: runtime.clone(),
    };
    everybody(&runtime, &Memory, SIZE, &queue)
}

/// How many queue.
pub const QUEUES: [usize; 2] = [100, 10_000];

fn measure(effort: &Effort) -> Finding {
    effort.say("half of those who wait give up");
    let plan = Plan {
        rounds: effort.pick(5, 21),
        whole: Duration::from_millis(effort.pick(10, 30)),
        each: Duration::ZERO,
    };
    let half = play(&mut impatient(), plan);
    let queues = QUEUES.map(|waiters| {
        effort.say(&format!("{waiters} queue and give up"));
        play(&mut queues(waiters), plan)
    });
    let lost = |record: &Record| record.most(|round| (round.hung + round.lost) as f64);
    let ours_lost = lost(of(&half, OURS)) + lost(of(&queues[0], OURS)) + lost(of(&queues[1], OURS));
    let nanos = |records: &[Record]| of(records, OURS).median(|round| round.nanos);
    Finding {
        seen: format!(
            "A waiter who queues and gives up costs ours {} ns in a queue of {}, and {} ns in one of {}.",
            digits(nanos(&queues[0])),
            QUEUES[0],
            digits(nanos(&queues[1])),
            QUEUES[1],
        ),
        method: vec![
            format!(
                "{TASKS} tasks on {SIZE} connections and two workers; each gives up every second checkout that takes longer than \
                 one yield. Afterwards all connections are to be had at once."
            ),
            "Then, while all connections are out, so many checkouts are polled once, and dropped in a shuffled order.".into(),
        ],
        tables: vec![half_table(&half), queue_table(&queues)],
        plots: vec![Plot {
            title: format!("To queue among {} and give up, ns (less is better)", QUEUES[1]),
            bars: queues[1]
                .iter()
                .map(|record| (record.name.to_string(), record.median(|round| round.nanos)))
                .collect(),
            mark: Some(of(&queues[1], FLOOR).median(|round| round.nanos)),
        }],
        targets: vec![Target::new(
            "cancelled waiters: nobody hangs, and no connection is lost",
            digits(ours_lost),
            ours_lost == 0.0,
        )],
    }
}

fn half_table(records: &[Record]) -> Table {
    let mut table = Table::new(
        "Half of those who wait give up",
        &[
            "",
            "served, M/s",
            "of FLOOR",
            "given up for one served",
            "luck",
            "hung",
            "connections lost",
        ],
    );
    for record in records {
        table.row([
            record.name.to_string(),
            digits(record.median(|round| 1e3 / round.nanos)),
            digits(record.ratio(of(records, FLOOR), |round| 1.0 / round.nanos)),
            digits(record.median(|round| round.cancelled)),
            digits(record.median(|round| round.luck)),
            digits(record.most(|round| round.hung as f64)),
            digits(record.most(|round| round.lost as f64)),
        ]);
    }
    table
}

fn queue_table(queues: &[Vec<Record>; 2]) -> Table {
    let [few, many] = QUEUES.map(|waiters| format!("of {waiters}, ns"));
    let mut table = Table::new(
        "All queue and give up; for each of them, in a queue",
        &["", &few, "of FLOOR", &many, "of FLOOR", "connections lost"],
    );
    for (few, many) in queues[0].iter().zip(&queues[1]) {
        let of_floor = |record: &Record, records: &[Record]| {
            digits(record.ratio(of(records, FLOOR), |round| round.nanos))
        };
        table.row([
            few.name.to_string(),
            digits(few.median(|round| round.nanos)),
            of_floor(few, &queues[0]),
            digits(many.median(|round| round.nanos)),
            of_floor(many, &queues[1]),
            digits(many.most(|round| round.lost as f64)),
        ]);
    }
    table
}
