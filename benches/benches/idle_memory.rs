//! What each pool needs to keep a connection idle.

use yardstick::suites::idle_memory::SUITE;

fn main() {
    SUITE.bench();
}
