//! What a person sees while the lab runs, on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::clock::now;
use crate::report::PolicyReport;
use crate::report::table::or_dash;

/// Prints a line for every story and policy, and on a terminal also a clock.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
    start: Instant,
    takes: Duration,
    clock_shown: bool,
}

impl Progress {
    /// Finds out whether anybody is looking.
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            start: now(),
            takes: Duration::ZERO,
            clock_shown: false,
        }
    }

    /// A story begins.
    pub(crate) fn begin(&mut self, story: &str, policies: usize, takes: Duration) {
        self.start = now();
        self.takes = takes;
        self.line(&format!(
            "{story}: {policies} policies, about {:.0} s",
            takes.as_secs_f64().ceil()
        ));
    }

    /// Time passes.
    pub(crate) fn tick(&mut self) {
        if self.is_terminal {
            let elapsed = self.start.elapsed().as_secs_f64();
            let takes = self.takes.as_secs_f64();
            let _ = write!(io::stderr(), "\r  {elapsed:.1} of {takes:.1} s ");
            self.clock_shown = true;
        }
    }

    /// A policy has been lived through.
    pub(crate) fn policy(&mut self, report: &PolicyReport) {
        self.line(&format!(
            "  {} {:<26} {:>4} CLOSE_WAIT at most, {:>3} at the end, {:>3} dead handed out",
            report.order,
            report.policy,
            or_dash(report.close_wait_max),
            or_dash(report.close_wait_at_end),
            report.dead_handed_out,
        ));
    }

    /// Something worth a line of its own.
    pub(crate) fn line(&mut self, text: &str) {
        let erase = if self.clock_shown { "\r\x1b[K" } else { "" };
        self.clock_shown = false;
        // Nobody may be listening any more; that is no reason to stop.
        let _ = writeln!(io::stderr(), "{erase}{text}");
    }
}
