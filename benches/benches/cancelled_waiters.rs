//! Callers who give up while they wait: among others who do not, and all of a queue at once.
//!
//! These are criterion's own figures, one contender after the other; `compare --only cancelled_waiters` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::cancelled_waiters::{QUEUES, impatient, queues};

fn cancelled_waiters(criterion: &mut Criterion) {
    common::bench(criterion, "half of those who wait give up", impatient());
    for waiters in QUEUES {
        let group = format!("{waiters} queue and give up");
        common::bench(criterion, &group, queues(waiters));
    }
}

criterion_group!(benches, cancelled_waiters);
criterion_main!(benches);
