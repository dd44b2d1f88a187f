//! What it costs to look after idle connections when nothing is due, of which there are up to 100,000.

use yardstick::suites::sweep::SUITE;

fn main() {
    SUITE.bench();
}
