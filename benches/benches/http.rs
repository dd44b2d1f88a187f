//! What a GET costs from a hyper server in the same process: through this client, reqwest and hyper-util's, and on bare
//! connections of hyper.
//!
//! These are criterion's own figures, one contender after the other; `compare --only http` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::http::{CROWDS, entrants, serve};

fn http(criterion: &mut Criterion) {
    let address = serve();
    for crowd in CROWDS {
        let group = format!("http, {}", crowd.name);
        common::bench(criterion, &group, entrants(address, crowd));
    }
}

criterion_group!(benches, http);
criterion_main!(benches);
