//! LIFO or FIFO, with idle reaping or without: on real sockets, against servers of our own.
//!
//! Each file is a part of the answer. All of them use this pool, so that nothing differs but the order and the idle
//! timeout.

mod balance;
mod client;
mod dead;
mod shrink;
mod spike;
mod warmth;

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub use self::balance::{Load, Shares, shares};
use super::{Effort, Suite};
use crate::findings::{Finding, Table};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "order",
    question: "LIFO or FIFO, with idle reaping or without: which should I use?",
    measure,
};

/// A part of the answer: its figures, and what they say.
struct Answer {
    /// Begins with what is asked.
    method: String,
    table: Table,
    seen: String,
}

/// Asks for one part.
type Part = fn(&Effort) -> io::Result<Answer>;

const PARTS: [(&str, Part); 5] = [
    ("warm and cold connections", warmth::warmth),
    ("after a burst", shrink::shrink),
    ("the next spike", spike::spike),
    ("several backends", balance::balance),
    ("dead connections", dead::dead),
];

fn measure(effort: &Effort) -> Finding {
    let mut finding = Finding::default();
    let mut seen = Vec::new();
    for (name, part) in PARTS {
        effort.say(name);
        match part(effort) {
            Ok(answer) => {
                finding.method.push(answer.method);
                finding.tables.push(answer.table);
                seen.push(answer.seen);
            }
            Err(error) => return Finding::not_measured(error),
        }
    }
    finding.seen = seen.join(" ");
    finding
}

/// The client has one thread: what is measured is how long something takes, not how much of it fits on a machine.
fn client_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Lives through all of them at the same time; the answers come in the order of the questions.
async fn together<T: Send + 'static>(
    lives: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let lives: Vec<_> = lives.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for life in lives {
        answers.push(life.await.expect("no life panics"));
    }
    answers
}

/// The value below which such a part of them lies, by nearest rank; they must be sorted.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    let value = sorted.get(rank.max(1) - 1);
    value.copied().unwrap_or_default()
}

fn micros(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e6)
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}
