//! The questions that the pools are asked, one a file; `compare` runs them all, criterion each by itself.
//!
//! A suite is a constant [`Suite`] in a file of its own, whose function `measure` answers with a [`Finding`]; it takes part
//! once it stands in [`SUITES`].

mod backend;
#[cfg(feature = "rivals")]
pub mod cancelled_waiters;
#[cfg(feature = "rivals")]
pub mod contended;
#[cfg(feature = "rivals")]
pub mod costs;
#[cfg(feature = "rivals")]
mod dialled;
#[cfg(feature = "rivals")]
pub mod fin_to_close;
#[cfg(feature = "rivals")]
pub mod http;
#[cfg(feature = "rivals")]
pub mod idle_memory;
pub mod order;
#[cfg(feature = "rivals")]
pub mod plenty;
#[cfg(feature = "rivals")]
pub mod recovery;
#[cfg(feature = "rivals")]
pub mod redis;
#[cfg(feature = "rivals")]
pub mod spike;
#[cfg(feature = "rivals")]
pub mod sweep;
pub mod system_calls;
#[cfg(feature = "rivals")]
pub mod two_cores;
#[cfg(feature = "rivals")]
pub mod uncontended;
#[cfg(feature = "rivals")]
mod users;
#[cfg(feature = "rivals")]
mod wires;

use std::io::{self, Write};

use crate::findings::Finding;
use crate::text;

/// A question, and the function that answers it.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// By which it is asked for on the command line.
    pub name: &'static str,
    /// As a heading.
    pub question: &'static str,
    /// Measures.
    pub measure: fn(&Effort) -> Finding,
}

impl Suite {
    /// For `cargo bench`: measures, quickly if the argument `--quick` says so, and prints what was found.
    pub fn bench(&self) {
        // `cargo test --benches` only wants to know that it runs.
        let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
        let finding = (self.measure)(&Effort { quick });
        // Nobody may be reading any more; that is no failure of the suite's.
        let _ = writeln!(
            io::stdout(),
            "{}\n\n{}",
            self.question,
            text::render(&finding)
        );
    }
}

/// All of them, in the order of the report.
#[cfg(feature = "rivals")]
pub const SUITES: &[Suite] = &[
    uncontended::SUITE,
    costs::SUITE,
    contended::SUITE,
    plenty::SUITE,
    two_cores::SUITE,
    cancelled_waiters::SUITE,
    order::SUITE,
    spike::SUITE,
    recovery::SUITE,
    fin_to_close::SUITE,
    system_calls::SUITE,
    sweep::SUITE,
    idle_memory::SUITE,
    redis::SUITE,
    http::SUITE,
];

/// How much of it, and whom to tell.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Everything in about a minute, rather than in ten.
    pub quick: bool,
}

impl Effort {
    /// The first number for a quick run, the second for a full one.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.quick {
            true => quick,
            false => full,
        }
    }

    /// Tells what is going on.
    pub fn say(&self, what: &str) {
        // Nobody may be listening any more; that is no reason to stop.
        let _ = writeln!(io::stderr(), "  {what}");
    }
}
