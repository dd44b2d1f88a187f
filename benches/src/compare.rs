//! Measures this pool beside all others, in one run on one machine, and says how it was done.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use yardstick::suites::{Effort, SUITES};

/// Measures this pool beside all others, in shuffled rounds of one run.
#[derive(Debug, Parser)]
#[command(name = "compare", version, max_term_width = 100)]
struct Cli {
    /// Everything in about a minute.
    #[arg(long)]
    quick: bool,

    /// Only this suite; may be given again.
    #[arg(long, value_name = "SUITE", value_parser = PossibleValuesParser::new(SUITES.iter().map(|suite| suite.name)))]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let effort = Effort { quick: cli.quick };
    for suite in SUITES {
        if cli.only.is_empty() || cli.only.iter().any(|name| name == suite.name) {
            eprintln!("{}", suite.question);
            let finding = (suite.measure)(&effort);
            println!("{finding:#?}");
        }
    }
    ExitCode::SUCCESS
}
