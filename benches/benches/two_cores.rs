//! Threads in a tight loop on one pool: one of them, and two.
//!
//! These are criterion's own figures, one contender after the other; `compare --only two_cores` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::two_cores::entrants;

fn two_cores(criterion: &mut Criterion) {
    for threads in [1, 2] {
        let group = format!("a tight loop on each of {threads} threads");
        common::bench(criterion, &group, entrants(threads));
    }
}

criterion_group!(benches, two_cores);
criterion_main!(benches);
