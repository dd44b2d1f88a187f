//! What a checkout, a GET and a check-in cost on a real Redis, which the benchmark starts itself: through this pool, through
//! bb8-redis and deadpool-redis, and without a pool on connections of redis-rs.
//!
//! These are criterion's own figures, one contender after the other; `compare --only redis` plays them in shuffled rounds
//! and forms ratios.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use yardstick::suites::redis::{CROWDS, entrants, server};

fn redis(criterion: &mut Criterion) {
    let server = match server() {
        Ok(server) => server,
        Err(error) => return println!("nothing was measured: {error}"),
    };
    for crowd in CROWDS {
        let group = format!("redis, {}", crowd.name);
        common::bench(criterion, &group, entrants(&server.url(), crowd));
    }
}

criterion_group!(benches, redis);
criterion_main!(benches);
