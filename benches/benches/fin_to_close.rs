//! How long an idle connection outlives its peer, with no traffic and among many others.

use yardstick::suites::fin_to_close::SUITE;

fn main() {
    SUITE.bench();
}
