//! More connections than tasks: nobody has to wait, but all meet at the lock.
//!
//! These are criterion's own figures, one contender after the other; `compare --only plenty` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::plenty::{crowds, entrants};

fn plenty(criterion: &mut Criterion) {
    for crowd in crowds() {
        common::bench(criterion, &crowd.in_words(), entrants(crowd));
    }
}

criterion_group!(benches, plenty);
criterion_main!(benches);
