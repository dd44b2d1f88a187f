//! The questions that the pools are asked, one a file; `compare` runs them all, criterion each by itself.
//!
//! A suite is a constant [`Suite`] in a file of its own, whose function `measure` answers with a [`Finding`]; it takes part
//! once it stands in [`SUITES`].

#[cfg(feature = "rivals")]
pub mod cancelled_waiters;
#[cfg(feature = "rivals")]
pub mod contended;
#[cfg(feature = "rivals")]
pub mod costs;
#[cfg(feature = "rivals")]
pub mod http;
pub mod order;
#[cfg(feature = "rivals")]
pub mod plenty;
#[cfg(feature = "rivals")]
pub mod redis;
#[cfg(feature = "rivals")]
pub mod two_cores;
#[cfg(feature = "rivals")]
pub mod uncontended;
#[cfg(feature = "rivals")]
mod users;

use std::io::{self, Write};

use crate::findings::Finding;

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
