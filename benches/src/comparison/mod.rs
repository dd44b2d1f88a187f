//! A run of `compare`: what all suites found, on what, and the two pages that are made of it.

mod bars;
mod html;
mod markdown;
mod versions;

use std::fs;
use std::time::Duration;

use crate::findings::{Finding, Target};
use crate::machine::Machine;

pub use self::html::render as html;
pub use self::markdown::render as markdown;
pub use self::versions::versions;

/// What holds for every suite, a sentence each.
const METHOD: [&str; 4] = [
    "Everything was measured in one run of one program. Contenders take turns in short slices; the order of the turns is \
     shuffled anew each round, so that what drifts on the machine, drifts for all. Figures are medians over the rounds; \
     ratios are formed within each round, and then the median of them is taken: trust ratios more than figures.",
    "All pools are at their defaults but for their size, unless a name says otherwise; mobc may also keep as many idle \
     connections as it may open. Every pool is taught the same kind of connection by the same code.",
    "FLOOR is a yardstick and no pool: tokio's fair semaphore and a mutex around a stack, without a check, a deadline, a limit \
     of age or statistics.",
    "bb8 switches tokio and everything else in the program to parking_lot's locks. The allocator counts, which costs those \
     a little that allocate.",
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// When it began, as RFC 3339 has it.
    pub when: String,
    /// How long it took.
    pub took: Duration,
    /// Whether it was a quick run.
    pub quick: bool,
    /// On what it ran.
    pub machine: Machine,
    /// The load average before and after, where the platform tells.
    pub load: Option<(String, String)>,
    /// Names and versions of what was compared.
    pub versions: Vec<String>,
    /// A chapter for each suite.
    pub chapters: Vec<Chapter>,
}

/// The question of a suite, and the answer.
#[derive(Clone, Debug, Default)]
pub struct Chapter {
    /// By which it is asked for on the command line.
    pub name: &'static str,
    /// As a heading.
    pub question: &'static str,
    /// The answer.
    pub finding: Finding,
}

impl Comparison {
    /// What was to be shown, of all suites.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.chapters
            .iter()
            .flat_map(|chapter| &chapter.finding.targets)
    }

    /// `21 of 24 targets hold`, and what became of the rest.
    pub fn verdict(&self) -> String {
        let count = |holds| {
            self.targets()
                .filter(|target| target.holds == holds)
                .count()
        };
        let mut text = format!(
            "{} of {} targets hold",
            count(Some(true)),
            self.targets().count()
        );
        for (number, what) in [
            (count(Some(false)), "missed"),
            (count(None), "not measured"),
        ] {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        text
    }

    /// When, for how long and on what, in one sentence each.
    fn circumstances(&self) -> Vec<String> {
        let scale = if self.quick { "quick" } else { "full" };
        let mut lines = vec![
            format!(
                "{}, a {scale} run of {:.0} s, by `cargo run --release -p benches --features rivals --bin compare`.",
                self.when,
                self.took.as_secs_f64()
            ),
            format!("{}.", self.machine.in_words()),
        ];
        if let Some((before, after)) = &self.load {
            lines.push(format!(
                "Load average {before} before and {after} after; a quiet machine begins near 0."
            ));
        }
        lines.push(format!("{}.", self.versions.join(", ")));
        lines
    }
}

/// How much the machine has to do, where it tells.
pub fn load_average() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Plot, Table};

    /// One chapter with all there can be.
    pub(super) fn synthetic() -> Comparison {
        let mut table = Table::new("Sizes, <all>", &["", "bytes | words"]);
        table.row(["ours".into(), "40".into()]);
        table.row(["a|b".into(), "48".into()]);
        let bars = [
            ("ours", 1.0),
            ("FLOOR", 2.0),
            ("slow", 3.0),
            ("slowest", 1e4),
        ];
        Comparison {
            when: "2026-01-01T00:00:00Z".into(),
            load: Some(("0.1".into(), "2.0".into())),
            versions: vec!["bb8 0.9.1".into()],
            chapters: vec![Chapter {
                name: "sizes",
                question: "How large & why?",
                finding: Finding {
                    seen: "Ours is small.".into(),
                    method: vec!["By size_of.".into()],
                    tables: vec![table],
                    plots: vec![Plot {
                        title: "Bytes".into(),
                        bars: bars.map(|(name, value)| (name.into(), value)).into(),
                        mark: Some(2.0),
                    }],
                    targets: vec![
                        Target::new("at most 40", "40", true),
                        Target::new("at most 8", "40", false),
                        Target::not_measured("no noise", "no ears"),
                    ],
                },
            }],
            ..Comparison::default()
        }
    }

    #[test]
    fn the_verdict_hides_nothing() {
        assert_eq!(
            synthetic().verdict(),
            "1 of 3 targets hold, 1 missed, 1 not measured"
        );
    }
}
