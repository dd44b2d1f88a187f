//! Many tasks on few connections, each of which yields once while it holds one: the time of a cycle of all together.
//!
//! These are criterion's own figures, one contender after the other; `compare --only contended` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::contended::{crowds, entrants};

fn contended(criterion: &mut Criterion) {
    for crowd in crowds() {
        common::bench(criterion, &crowd.in_words(), entrants(crowd));
    }
}

criterion_group!(benches, contended);
criterion_main!(benches);
