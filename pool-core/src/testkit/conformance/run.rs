//! Tries one rule after the other, each on a thread and a runtime of its own, and survives whatever that brings.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use tokio::runtime;
use tokio::sync::oneshot;

use super::checks;
use super::observed::{Log, Panic, message};
use super::report::{Report, Verdict, broken};
use super::rule::Rule;
use super::subject::Subject;
use super::trial::{Outcome, Trial, frozen_until};
use crate::manager::Manager;

/// How many limits a check may wait without calling anything: for a checkout and what comes before and after it.
const LONGEST_WAIT: u32 = 4;

pub(super) fn all<M: Manager>(subject: Arc<Subject<M>>, done: oneshot::Sender<Report>) {
    let mut report = Report::new(std::any::type_name::<M>());
    let mut panics = Vec::new();
    let mut base = subject.server.open();
    let mut connects = true;
    for rule in Rule::ALL {
        if done.is_closed() {
            return;
        }
        let verdict = if rule == Rule::NothingPanics {
            nothing_panics(&panics)
        } else if !connects {
            Verdict::NotAsked("there is no connection that the server sees")
        } else if let Some(why) = subject.lacks(rule) {
            Verdict::NotAsked(why)
        } else {
            let log = Arc::<Log>::default();
            let verdict = supervise(rule, &subject, &log, base);
            panics.extend(log.panics());
            base = clear(&subject, base);
            verdict
        };
        connects &= rule != Rule::ConnectConnects || verdict == Verdict::Kept;
        report.add(rule, verdict);
    }
    // Nobody may want to know any more.
    let _ = done.send(report);
}

/// Tries a rule on another thread, so that one that does not come back is noticed; that thread is left behind.
fn supervise<M: Manager>(
    rule: Rule,
    subject: &Arc<Subject<M>>,
    log: &Arc<Log>,
    base: usize,
) -> Verdict {
    let (done, verdict) = mpsc::channel();
    {
        let (subject, log) = (Arc::clone(subject), Arc::clone(log));
        thread::spawn(move || {
            // Nobody listens any more if it was given up.
            let _ = done.send(attempt(rule, &subject, &log, base));
        });
    }
    let (mut last, mut unchanged) = (log.last(), 0);
    loop {
        match verdict.recv_timeout(subject.limit) {
            Ok(verdict) => return verdict,
            Err(RecvTimeoutError::Disconnected) => unreachable!("an attempt catches every panic"),
            Err(RecvTimeoutError::Timeout) => {
                let before = std::mem::replace(&mut last, log.last());
                unchanged = if last == before { unchanged + 1 } else { 0 };
            }
        }
        // A check waits for a limited number of ticks, and then asks something; so it comes back unless a call does not.
        let limit = subject.limit;
        match last.running {
            Some(method) if unchanged > 0 => {
                return broken(method, format!("it has blocked its thread for {limit:?}"));
            }
            None if unchanged > LONGEST_WAIT => {
                return broken(
                    "a destructor",
                    format!("it has blocked its thread for {limit:?}"),
                );
            }
            _ => {}
        }
    }
}

fn attempt<M: Manager>(
    rule: Rule,
    subject: &Arc<Subject<M>>,
    log: &Arc<Log>,
    base: usize,
) -> Verdict {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a thread can have a runtime");
    let outcome: Outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let trial = Trial::new(Arc::clone(subject), Arc::clone(log), base);
            checks::check(rule, &trial).await
        })
    }))
    .unwrap_or_else(|panic| {
        let message = message(&*panic);
        let mut panics = log.panics().into_iter().rev();
        let noted = panics.find(|panic| panic.message == message);
        let method = noted.map_or("a destructor", |panic| panic.method);
        Err(broken(method, format!("it panicked: {message}")))
    });
    // A destructor of a task's may panic, or block; neither is this rule's.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.shutdown_background()));
    outcome.err().unwrap_or(Verdict::Kept)
}

/// Ends what a rule has left behind. Answers with how many connections would not go, which must not be held against
/// the next rule.
fn clear<M: Manager>(subject: &Subject<M>, base: usize) -> usize {
    subject.server.resume();
    subject.server.hang_up();
    frozen_until(subject.limit, || subject.server.open() <= base);
    subject.server.open()
}

fn nothing_panics(panics: &[Panic]) -> Verdict {
    match panics.first() {
        Some(Panic { method, message }) => broken(method, format!("it panicked: {message}")),
        None => Verdict::Kept,
    }
}
