//! How many system calls a checkout and a check-in cost on a real TCP connection, with the watch and the exact probe; counted by
//! strace, where it is installed.

use yardstick::suites::system_calls::{CHILD, SUITE, run_watched};

fn main() {
    if std::env::args().any(|argument| argument == CHILD) {
        return run_watched();
    }
    SUITE.bench();
}
