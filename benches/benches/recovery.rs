//! What an outage costs each pool: dials while it lasts, and the time until everybody is served after it.

use yardstick::suites::recovery::SUITE;

fn main() {
    SUITE.bench();
}
