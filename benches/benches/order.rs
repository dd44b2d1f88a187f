//! LIFO or FIFO, with idle reaping or without, on real sockets: what a request costs on a warm and on a cold connection, how
//! quickly the pool shrinks after a burst, what the next spike dials, how evenly several backends are used, and who meets
//! the dead. `-- --quick` takes ten seconds instead of thirty.

use yardstick::suites::order::SUITE;

fn main() {
    SUITE.bench();
}
