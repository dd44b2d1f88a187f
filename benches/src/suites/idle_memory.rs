//! What the pool itself needs to keep a connection idle.

use allocation_counter::measure as allocations;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::{Effort, Suite};
use crate::contenders::{Contender, Dialler, FLOOR, Memory, OURS, Question, everybody, fill};
use crate::findings::{Finding, Plot, Table, Target, digits};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "idle-memory",
    question: "How much memory does an idle connection need, beside its own?",
    measure,
};

/// Of the connection itself, which is no bookkeeping.
const CONNECTION: usize = size_of::<<Memory as Dialler>::Connection>();

/// Idle connections.
const SIZES: [usize; 2] = [10_000, 100_000];

/// Bytes of bookkeeping an idle connection, of a pool of so many.
struct Filled<'a> {
    runtime: &'a Runtime,
    size: usize,
}

impl Filled<'_> {
    /// Some put back and close each connection in a task of its own.
    async fn wait_for_tasks(&self) {
        for _ in 0..self.size {
            yield_now().await;
        }
    }
}

impl Question for Filled<'_> {
    type Answer = (&'static str, f64);

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Self::Answer {
        self.runtime.block_on(async {
            fill(&contender, self.size).await;
            self.wait_for_tasks().await;
        });
        let counted = allocations(|| {
            self.runtime.block_on(async {
                drop(contender);
                self.wait_for_tasks().await;
            });
        });
        let each = -counted.bytes_current as f64 / self.size as f64;
        (name, each - CONNECTION as f64)
    }
}

fn measure(effort: &Effort) -> Finding {
    // All of it happens on this thread, whose allocations are counted.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::not_measured(error),
    };
    let [few, many] = SIZES.map(|size| {
        effort.say(&format!("{size} idle connections"));
        let question = Filled {
            runtime: &runtime,
            size,
        };
        everybody(&runtime, &Memory, size, &question)
    });
    let mut table = Table::new(
        "Bytes an idle connection, beside its own",
        &["pool", "of 10,000", "of 100,000"],
    );
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        table.row([(*name).to_owned(), digits(*few), digits(*many)]);
    }
    let of = |name| {
        let found = many.iter().find(|(contender, _)| *contender == name);
        found.expect("it takes part").1
    };
    let most = of(OURS).max(
        few.iter()
            .find(|(name, _)| *name == OURS)
            .expect("it takes part")
            .1,
    );
    Finding {
        seen: format!(
            "An idle connection needs {} bytes beside its own in this pool of 100,000, {} in FLOOR, which knows nothing about it. What it knows here: \
             its age, its number, its uses, its neighbours in the idle set, when it expires, and whom to tell that its peer moved.",
            digits(of(OURS)),
            digits(of(FLOOR)),
        ),
        method: vec![
            "What a full pool gives back to the allocator when it is dropped, less the connections, which are numbers of 8 bytes; all \
             pools are counted so. Full means that there are as many connections as there may be, so nothing is set aside for more. \
             What the allocator needs itself is not in it."
                .into(),
        ],
        tables: vec![table],
        plots: vec![Plot {
            title: "Bytes an idle connection beside its own, of 100,000: less is better".into(),
            bars: many.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
            mark: Some(96.0),
        }],
        targets: vec![Target::new(
            "at most 96 bytes of bookkeeping an idle connection",
            format!("{} bytes", digits(most)),
            most <= 96.0,
        )],
    }
}
