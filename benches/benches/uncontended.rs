//! What a checkout and a check-in cost when nobody else wants the pool, beside the cheapest thing that could be called
//! a pool: a mutex around a deque, from which a value is popped and to which it is pushed back.
//!
//! The manager is trivial, the default checkout deadline of 30 s is set, limits on age and idle time are on, and so is
//! the maintenance task. First come interleaved rounds with their ratios, which survive a machine whose speed drifts;
//! then criterion's own figures.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::disallowed_methods, reason = "benchmarks measure real time")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use criterion::{Criterion, criterion_group};
use pool_core::{Manager, Order, Pool};

const ROUNDS: usize = 101;
const CYCLES: u32 = 20_000;

struct Trivial;

impl Manager for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    fn is_dropped(&self, _: &mut u64) -> bool {
        false
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is an idle connection"),
    }
}

fn floor() -> impl FnMut() {
    let floor = Mutex::new(VecDeque::from([7_u64; 4]));
    move || {
        let value = floor
            .lock()
            .expect("nothing panics here")
            .pop_back()
            .expect("it is put back");
        black_box(value);
        floor.lock().expect("nothing panics here").push_back(value);
    }
}

fn pool(runtime: &tokio::runtime::Runtime, order: Order) -> Pool<Trivial> {
    let pool = Pool::builder(Trivial)
        .order(order)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the defaults are valid");
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(pool.checkout().await.expect("a trivial manager connects"));
        }
    });
    pool
}

fn borrowed(pool: Pool<Trivial>) -> impl FnMut() {
    move || {
        black_box(*ready(pool.checkout()).expect("there is an idle connection"));
    }
}

fn owned(pool: Pool<Trivial>) -> impl FnMut() {
    move || {
        black_box(*ready(pool.checkout_owned()).expect("there is an idle connection"));
    }
}

/// A name, and one checkout and check-in.
type Contender = (&'static str, Box<dyn FnMut()>);

fn contenders(runtime: &tokio::runtime::Runtime) -> Vec<Contender> {
    vec![
        ("floor: mutex, pop and push", Box::new(floor())),
        (
            "borrowed guard, LIFO",
            Box::new(borrowed(pool(runtime, Order::Lifo))),
        ),
        (
            "borrowed guard, FIFO",
            Box::new(borrowed(pool(runtime, Order::Fifo))),
        ),
        (
            "owned guard, LIFO",
            Box::new(owned(pool(runtime, Order::Lifo))),
        ),
        (
            "owned guard, FIFO",
            Box::new(owned(pool(runtime, Order::Fifo))),
        ),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

fn print_ratios() {
    let runtime = runtime();
    let mut contenders = contenders(&runtime);
    let mut nanos = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((_, cycle), nanos) in contenders.iter_mut().zip(&mut nanos) {
            let start = Instant::now();
            (0..CYCLES).for_each(|_| cycle());
            nanos.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CYCLES));
        }
    }
    let medians: Vec<f64> = nanos
        .iter_mut()
        .map(|nanos| {
            nanos.sort_by(f64::total_cmp);
            nanos[ROUNDS / 2]
        })
        .collect();
    println!(
        "checkout and check-in, uncontended; medians of {ROUNDS} interleaved rounds of {CYCLES}"
    );
    for ((name, _), median) in contenders.iter().zip(&medians) {
        println!(
            "  {name:<28} {median:6.1} ns  {:4.2} of the floor",
            median / medians[0]
        );
    }
    println!("  targets: borrowed within 2.50, owned within 3.50\n");
}

fn uncontended(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("uncontended");
    for (name, mut cycle) in contenders(&runtime) {
        group.bench_function(name, |bencher| bencher.iter(&mut cycle));
    }
    group.finish();
}

criterion_group!(benches, uncontended);

fn main() {
    // `cargo test --benches` only wants to know that they run.
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        print_ratios();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
