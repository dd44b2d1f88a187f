//! What it costs to look after idle connections when nothing is due.

use std::time::Duration;

use pool_core::Order;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{Effort, Suite};
use crate::clock::{now, thread_cpu};
use crate::contenders::{Bb8, Borrowed, Deadpool, Memory, fill};
use crate::findings::{Finding, Plot, Table, Target, digits};
use crate::rounds::median;

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "sweep",
    question: "What does it cost to look after idle connections when nothing is due?",
    measure,
};

/// Idle connections.
const SIZES: [usize; 3] = [100, 10_000, 100_000];

/// How often bb8 sweeps while it is measured.
const RATE: Duration = Duration::from_millis(20);

/// Who sweeps, and what one sweep takes with so many idle connections each, in microseconds.
struct Row {
    name: &'static str,
    micros: [f64; SIZES.len()],
}

fn measure(effort: &Effort) -> Finding {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::not_measured(error),
    };
    let sweeps = effort.pick(20, 100);
    let each = |name, micros: &dyn Fn(usize) -> f64| {
        effort.say(name);
        Row {
            name,
            micros: SIZES.map(micros),
        }
    };
    let rows = [
        each("ours: a pass of the maintenance task", &|size| {
            runtime.block_on(maintenance(size, sweeps))
        }),
        each("ours: Pool::sweep, which looks at each", &|size| {
            runtime.block_on(looks_at_each(size, sweeps))
        }),
        each("deadpool: retain, as its manual has it", &|size| {
            runtime.block_on(retain(size, sweeps))
        }),
        each("bb8: its reaper", &|size| reaper(&runtime, size, sweeps)),
    ];
    finding(&rows, sweeps)
}

/// Nudges the maintenance task by a deadline that is sooner than the one it knows, though far away.
async fn maintenance(size: usize, sweeps: usize) -> f64 {
    let ours = Borrowed::new(&Memory, size, Order::Lifo);
    fill(&ours, size).await;
    let hour = Duration::from_secs(3600);
    let mut timeout = hour;
    ours.pool().set_idle_timeout(hour);
    let mut micros = Vec::new();
    // Many passes at once: one is shorter than the clock is exact.
    let passes = 100;
    for _ in 0..sweeps {
        let start = now();
        for _ in 0..passes {
            timeout -= Duration::from_millis(1);
            ours.pool().set_idle_timeout(timeout);
            yield_now().await;
        }
        micros.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(passes));
    }
    assert_eq!(ours.pool().status().idle, size, "nothing was due");
    median(micros)
}

async fn looks_at_each(size: usize, sweeps: usize) -> f64 {
    let ours = Borrowed::new(&Memory, size, Order::Lifo);
    fill(&ours, size).await;
    timed(sweeps, || assert_eq!(ours.pool().sweep(), 0))
}

async fn retain(size: usize, sweeps: usize) -> f64 {
    let deadpool = Deadpool::new(&Memory, size);
    fill(&deadpool, size).await;
    let idle_timeout = Duration::from_secs(600);
    timed(sweeps, || {
        let kept =
            |_: &u64, metrics: ::deadpool::managed::Metrics| metrics.last_used() < idle_timeout;
        assert_eq!(deadpool.pool().retain(kept).removed.len(), 0);
    })
}

/// It cannot be called, so it runs often and the CPU time of the thread is shared out.
fn reaper(runtime: &Runtime, size: usize, sweeps: usize) -> f64 {
    runtime.block_on(async {
        let bb8 = Bb8::reaping_every(&Memory, size, RATE).await;
        fill(&bb8, size).await;
        let before = thread_cpu();
        sleep(RATE * u32::try_from(sweeps).expect("a few")).await;
        let (Some(before), Some(after)) = (before, thread_cpu()) else {
            return f64::NAN;
        };
        (after - before).as_secs_f64() * 1e6 / sweeps as f64
    })
}

fn timed(sweeps: usize, mut sweep: impl FnMut()) -> f64 {
    let once = |_| {
        let start = now();
        sweep();
        start.elapsed().as_secs_f64() * 1e6
    };
    median((0..sweeps).map(once).collect())
}

fn finding(rows: &[Row], sweeps: usize) -> Finding {
    let mut table = Table::new(
        "One sweep, nothing due",
        &["who", "100 idle, µs", "10,000", "100,000"],
    );
    for row in rows {
        let micros = row.micros.map(digits);
        table.row([row.name.to_owned()].into_iter().chain(micros));
    }
    let [small, _, large] = rows[0].micros;
    let bars = rows
        .iter()
        .map(|row| (row.name.to_owned(), row.micros[2]))
        .collect();
    Finding {
        seen: format!(
            "A pass of this pool's maintenance takes {} µs with 100 idle connections and {} µs with 100,000: it looks at the next \
             deadline, and at nobody else. It has no period, either. What looks at each connection, this pool's `sweep` included, \
             takes as long as there are connections.",
            digits(small),
            digits(large)
        ),
        method: vec![
            format!("Connections in memory, one thread, medians of {sweeps} sweeps; of this pool's maintenance, of {sweeps} times 100."),
            "This pool's task is nudged by an idle timeout that is shorter by a millisecond, and still almost an hour. bb8's reaper \
             runs every 20 ms instead of every 30 s, and the thread's CPU time is shared out. mobc, fast_pool and qp have no sweep \
             that could be called."
                .into(),
        ],
        tables: vec![table],
        plots: vec![Plot {
            title: "One sweep over 100,000 idle connections, µs: less is better".into(),
            bars,
            mark: None,
        }],
        targets: vec![Target::new(
            "a sweep with nothing due costs the same at 100,000 idle connections as at 100 (within a half)",
            format!("{} and {} µs", digits(large), digits(small)),
            large < 1.5 * small,
        )],
    }
}
