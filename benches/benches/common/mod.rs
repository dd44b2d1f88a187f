//! What the criterion files share.

use std::time::Duration;

use criterion::Criterion;
use yardstick::rounds::Entrant;

/// A group with a line for each entrant.
pub(crate) fn bench(criterion: &mut Criterion, group: &str, entrants: Vec<Entrant>) {
    let mut group = criterion.benchmark_group(group);
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for mut entrant in entrants {
        group.bench_function(entrant.name, |bencher| {
            bencher.iter_custom(|cycles| entrant.time(cycles));
        });
    }
    group.finish();
}
