//! Measures this pool beside all others, in one run on one machine, and says how it was done.

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use yardstick::callgrind::CHILD;
use yardstick::clock::{now, timestamp};
use yardstick::comparison::{self, Chapter, Comparison};
use yardstick::findings::Finding;
use yardstick::folder::Folder;
use yardstick::machine::Machine;
use yardstick::suites::{Effort, SUITES, Suite, costs, system_calls};
use yardstick::text;

/// Measures this pool beside all others, in shuffled rounds of one run.
///
/// Prints each table as soon as it is there, and writes compare.html and COMPARE.md.
#[derive(Debug, Parser)]
#[command(name = "compare", version, max_term_width = 100)]
struct Cli {
    /// Everything in about a minute rather than ten.
    #[arg(long)]
    quick: bool,

    /// Only this suite; may be given again.
    #[arg(long, value_name = "SUITE", value_parser = PossibleValuesParser::new(SUITES.iter().map(|suite| suite.name)))]
    only: Vec<String>,

    /// Where the pages go.
    #[arg(long, value_name = "FOLDER", default_value = "target/compare")]
    out: PathBuf,

    /// Exit with 1 if a target is missed.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == CHILD) {
        costs::run_watched();
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == system_calls::CHILD) {
        system_calls::run_watched();
        return ExitCode::SUCCESS;
    }
    let cli = Cli::parse();
    match run(&cli) {
        Ok(comparison) => {
            let missed = comparison
                .targets()
                .any(|target| target.holds == Some(false));
            ExitCode::from(u8::from(cli.check && missed))
        }
        Err(error) => {
            let out = cli.out.display();
            eprintln!(
                "error: the pages cannot go to {out}: {error}; choose another folder with --out"
            );
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<Comparison> {
    let folder = Folder::prepare(cli.out.clone())?;
    let start = now();
    let mut comparison = Comparison {
        when: timestamp(),
        quick: cli.quick,
        machine: Machine::this(None),
        versions: comparison::versions(),
        ..Comparison::default()
    };
    let before = comparison::load_average();
    let is_asked =
        |suite: &&Suite| cli.only.is_empty() || cli.only.iter().any(|name| name == suite.name);
    let suites: Vec<_> = SUITES.iter().filter(is_asked).collect();
    for (place, suite) in suites.iter().enumerate() {
        let elapsed = start.elapsed().as_secs();
        eprintln!(
            "[{} of {}, {elapsed} s] {}",
            place + 1,
            suites.len(),
            suite.name
        );
        let chapter = Chapter {
            name: suite.name,
            question: suite.question,
            finding: measure(suite, &Effort { quick: cli.quick }),
        };
        print(&format!(
            "{}\n\n{}\n",
            suite.question,
            text::render(&chapter.finding)
        ));
        comparison.chapters.push(chapter);
    }
    comparison.took = start.elapsed();
    comparison.load = before.zip(comparison::load_average());
    let targets = comparison.targets().map(|target| {
        let verdict = target.verdict().to_string();
        vec![verdict, target.target.clone(), target.seen.clone()]
    });
    let targets: Vec<_> = targets.collect();
    print(&format!(
        "{}\n{}",
        comparison.verdict(),
        text::align(&targets, 3)
    ));
    for (name, text) in [
        ("compare.html", comparison::html(&comparison)),
        ("COMPARE.md", comparison::markdown(&comparison)),
    ] {
        eprintln!("{}", folder.write(name, &text)?.display());
    }
    Ok(comparison)
}

/// A suite that fails takes nothing from the others.
fn measure(suite: &Suite, effort: &Effort) -> Finding {
    catch_unwind(|| (suite.measure)(effort))
        .unwrap_or_else(|_| Finding::not_measured("the suite failed; the error stands above"))
}

fn print(text: &str) {
    // Whoever has seen enough may close the pipe; the pages are written all the same.
    let _ = writeln!(io::stdout(), "{text}");
}
