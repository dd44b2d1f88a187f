//! What a checkout and a check-in cost in what no noise can touch: instructions, allocations, clock readings, bytes.

use std::rc::Rc;

use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use super::uncontended::cycle;
use super::{Effort, Suite};
use crate::callgrind::{self, Counted};
use crate::contenders::{Contender, FLOOR, OURS, OURS_OWNED, Question, everybody_alone, fill};
use crate::crowd::Threads;
use crate::findings::{Finding, Plot, Table, Target, digits};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "costs",
    question: "What does a checkout cost in instructions, allocations and bytes?",
    measure,
};

/// Connections in each pool, all of them idle.
const SIZE: usize = 4;

/// Cycles over which is averaged.
const CYCLES: u64 = 2000;

/// What is known of a contender without running it, and how to run it.
struct Ready {
    name: &'static str,
    future_bytes: usize,
    guard_bytes: usize,
    run: Box<dyn FnMut(u64)>,
}

struct Get(Rc<Runtime>);

impl Question for Get {
    type Answer = Ready;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Ready {
        let runtime = Rc::clone(&self.0);
        runtime.block_on(fill(&contender, SIZE));
        let future_bytes = size_of_val(&contender.checkout());
        Ready {
            name,
            future_bytes,
            guard_bytes: size_of::<C::Guard<'static>>(),
            run: Box::new(move |cycles| {
                runtime.block_on(unconstrained(cycle(&contender, cycles)));
            }),
        }
    }
}

fn ready() -> Vec<Ready> {
    let runtime = Threads::One.runtime();
    let mut ready = everybody_alone(&runtime, SIZE, &Get(Rc::clone(&runtime)));
    // Whatever is made at the first use is made.
    for contender in &mut ready {
        (contender.run)(100);
    }
    ready
}

/// What callgrind is told to look at, twice for each contender; called by its child alone.
pub fn run_watched() {
    for mut contender in ready() {
        // In the first one is what was counted before.
        callgrind::watched(&mut || (contender.run)(100));
        callgrind::watched(&mut || (contender.run)(CYCLES));
    }
}

fn measure(effort: &Effort) -> Finding {
    effort.say("under callgrind, if there is one");
    let mut contenders = ready();
    let counted = callgrind::count(2 * contenders.len());
    let mut table = Table::new(
        format!(
            "A checkout and a check-in, averages of {CYCLES}; bytes of the future and of the guard"
        ),
        &[
            "",
            "instructions",
            "clock readings",
            "allocations",
            "future",
            "guard",
        ],
    );
    let mut targets = Vec::new();
    let mut bars = Vec::new();
    for (place, contender) in contenders.iter_mut().enumerate() {
        let counted = counted.as_ref().map(|counted| counted[2 * place + 1]);
        let allocations = allocation_counter::measure(|| (contender.run)(CYCLES)).count_total;
        let each = |count: u64| count as f64 / CYCLES as f64;
        let shown = |of: fn(Counted) -> u64| match &counted {
            Ok(counted) => digits(each(of(*counted))),
            Err(_) => "not measured".into(),
        };
        table.row([
            contender.name.to_string(),
            shown(|counted| counted.instructions),
            shown(|counted| counted.clock_readings),
            digits(each(allocations)),
            contender.future_bytes.to_string(),
            contender.guard_bytes.to_string(),
        ]);
        if let Ok(counted) = counted {
            bars.push((contender.name.to_string(), each(counted.instructions)));
        }
        if [OURS, OURS_OWNED].contains(&contender.name) {
            let counted = counted.map_err(ToString::to_string);
            targets.extend(judge(contender, counted, each(allocations)));
        }
    }
    let instructions = |name: &str| {
        let bar = bars.iter().find(|(whose, _)| whose == name);
        bar.map_or("-".into(), |(_, count)| digits(*count))
    };
    Finding {
        seen: format!(
            "Ours takes {} instructions, FLOOR {}.",
            instructions(OURS),
            instructions(FLOOR)
        ),
        method: vec![
            "Instructions and clock readings: the program runs itself under callgrind, which sees user space alone; a clock \
             reading is a call of clock_gettime, which there costs some ten instructions and outside some 66 (coarse) or 96. \
             Allocations: counted by the allocator, on the thread that checks out. Bytes: \
             size_of_val of the future that checkout returns, size_of of its guard, for a connection of 8 bytes."
                .into(),
        ],
        tables: vec![table],
        plots: vec![Plot {
            title: "Instructions (less is better)".into(),
            mark: bars.iter().find(|(name, _)| name == FLOOR).map(|bar| bar.1),
            bars,
        }],
        targets,
    }
}

fn judge(contender: &Ready, counted: Result<Counted, String>, allocations: f64) -> Vec<Target> {
    let name = contender.name;
    let at_most = |what: &str, seen: f64, most: f64| {
        Target::new(
            format!("{name}: at most {what}"),
            digits(seen),
            seen <= most,
        )
    };
    let each = |count: u64| count as f64 / CYCLES as f64;
    let mut targets = match counted {
        Ok(counted) => vec![
            at_most("350 instructions", each(counted.instructions), 350.0),
            at_most("one clock reading", each(counted.clock_readings), 1.0),
        ],
        Err(why) => vec![Target::not_measured(
            format!("{name}: at most 350 instructions and one clock reading"),
            why,
        )],
    };
    targets.extend([
        Target::new(
            format!("{name}: no allocation"),
            digits(allocations),
            allocations == 0.0,
        ),
        at_most(
            "200 bytes of checkout future",
            contender.future_bytes as f64,
            200.0,
        ),
        at_most("40 bytes of guard", contender.guard_bytes as f64, 40.0),
    ]);
    targets
}
