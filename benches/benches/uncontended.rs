//! What a checkout and a check-in cost when nobody else wants the pool, in this pool, in others, and in the cheapest things
//! that could be called one.
//!
//! These are criterion's own figures, one contender after the other; `compare --only uncontended` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::uncontended::entrants;

fn uncontended(criterion: &mut Criterion) {
    common::bench(criterion, "uncontended", entrants());
}

criterion_group!(benches, uncontended);
criterion_main!(benches);
