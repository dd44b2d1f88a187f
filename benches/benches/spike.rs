//! How many connections each pool dials when many tasks want one at once, and when one after the other does.

use yardstick::suites::spike::SUITE;

fn main() {
    SUITE.bench();
}
