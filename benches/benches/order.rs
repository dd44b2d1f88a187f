//! LIFO or FIFO, with idle reaping or without, on real sockets: what a request costs on a warm and on a cold connection, how
//! quickly the pool shrinks after a burst, what the next spike dials, how evenly several backends are used, and who meets
//! the dead. `-- --quick` takes ten seconds instead of thirty.

use yardstick::suites::{Effort, order::SUITE};
use yardstick::text;

fn main() {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    // `cargo test --benches` only wants to know that it runs.
    let effort = Effort {
        quick: asked("--quick") || asked("--test"),
    };
    let finding = (SUITE.measure)(&effort);
    println!("{}\n\n{}", SUITE.question, text::render(&finding));
}
