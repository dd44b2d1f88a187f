//! What a run of the lab found: the numbers, what was claimed beforehand, and the three ways to read it.

pub(crate) mod claims;
pub(crate) mod html;
pub(crate) mod json;
mod picture;
mod plot;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::clock::millis;
use crate::heard::Told;
use crate::sampler::Point;

pub(crate) use claims::Claim;
pub(crate) use yardstick::folder::Folder;
pub(crate) use yardstick::machine::Machine;

/// What a policy's name must not be taken for.
pub(crate) const IMITATED: &str = "Policies named after other libraries imitate their rule with this pool; none of those libraries is run.";

/// The whole report, field for field what `report.json` holds; `README.md` documents each.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) version: &'static str,
    pub(crate) when: String,
    pub(crate) took_ms: u64,
    pub(crate) scale: &'static str,
    pub(crate) server: Option<String>,
    pub(crate) machine: Machine,
    pub(crate) method: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) stories: Vec<StoryReport>,
}

/// One story under all of its policies.
#[derive(Debug, Serialize)]
pub(crate) struct StoryReport {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) setup: String,
    pub(crate) seen: String,
    pub(crate) close_wait_side: &'static str,
    pub(crate) took_ms: u64,
    pub(crate) parameters: BTreeMap<&'static str, Value>,
    pub(crate) policies: Vec<PolicyReport>,
}

/// One story under one policy.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PolicyReport {
    /// Its place in the story's list; runs end in any order.
    #[serde(skip)]
    pub(crate) place: usize,
    pub(crate) order: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) title: &'static str,
    pub(crate) close_wait_max: Option<usize>,
    pub(crate) close_wait_at_end: Option<usize>,
    pub(crate) close_wait_socket_seconds: Option<f64>,
    pub(crate) close_wait_longest_ms: Option<f64>,
    pub(crate) open_at_end: Option<usize>,
    pub(crate) dialled: usize,
    pub(crate) dead_handed_out: usize,
    pub(crate) fin_to_close_ms: Option<Summary>,
    pub(crate) idle_cpu_ms: Option<f64>,
    pub(crate) idle_window_ms: Option<f64>,
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) never_closed: Option<usize>,
    pub(crate) fins: Option<usize>,
    pub(crate) requests: usize,
    pub(crate) requests_lost: usize,
    pub(crate) requests_after_fin: Option<usize>,
    pub(crate) checkouts_failed: usize,
    pub(crate) accepted: Option<usize>,
    pub(crate) accepted_too_late: Option<usize>,
    pub(crate) syn_retries: Option<u32>,
    pub(crate) check_ins: usize,
    pub(crate) probes: usize,
    pub(crate) watch_polls: usize,
    /// What the pool said of itself.
    pub(crate) told: Told,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) series: Vec<Point>,
}

impl PolicyReport {
    /// The report on one policy among those of a story.
    pub(crate) fn find<'a>(policies: &'a [Self], order: &str, policy: &str) -> Option<&'a Self> {
        policies
            .iter()
            .find(|report| report.order == order && report.policy == policy)
    }

    /// Whether this is the pool as it comes.
    pub(crate) fn is_ours(&self) -> bool {
        let name = self.policy;
        self.order == "lifo"
            && (name.starts_with("watch+reap")
                || name.starts_with("paced")
                || name == "patient-server")
    }

    /// Requests that were answered.
    pub(crate) fn served(&self) -> usize {
        self.requests - self.requests_lost
    }

    /// What was left in CLOSE_WAIT: as the table shows it, or else as the server knows it.
    pub(crate) fn left(&self) -> Option<usize> {
        self.close_wait_at_end.or(self.never_closed)
    }

    /// The longest time from FIN to close, in words; as the table shows it where the server does not tell.
    pub(crate) fn slowest_close(&self) -> String {
        match (self.fin_to_close_ms, self.close_wait_longest_ms) {
            (Some(summary), _) => milliseconds(summary.max),
            (None, Some(longest)) if longest > 0.0 => milliseconds(longest),
            (None, Some(_)) => "the time between two readings".into(),
            (None, None) => "an unknown time".into(),
        }
    }
}

/// The middle, the tail and the end of a set of durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Nearest-rank percentiles; `None` of nothing.
    pub(crate) fn of(durations: &[Duration]) -> Option<Self> {
        let mut sorted = durations.to_vec();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().map(millis)
        };
        Some(Self {
            p50: rank(50)?,
            p99: rank(99)?,
            max: rank(100)?,
        })
    }
}

/// The client's sockets to one remote address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Remote {
    pub(crate) address: IpAddr,
    pub(crate) states: BTreeMap<&'static str, usize>,
}

impl Remote {
    /// As many addresses as a person wants to see.
    const SHOWN: usize = 10;

    /// Those with the most sockets first.
    pub(crate) fn busiest(remotes: &BTreeMap<IpAddr, BTreeMap<&'static str, usize>>) -> Vec<Self> {
        let mut remotes: Vec<_> = remotes
            .iter()
            .map(|(&address, states)| Self {
                address,
                states: states.clone(),
            })
            .collect();
        remotes.sort_by_key(|remote| std::cmp::Reverse(remote.total()));
        remotes.truncate(Self::SHOWN);
        remotes
    }

    /// All of its sockets.
    pub(crate) fn total(&self) -> usize {
        self.states.values().sum()
    }

    /// `3 CLOSE_WAIT, 1 ESTABLISHED`.
    pub(crate) fn states_in_words(&self) -> String {
        let states: Vec<_> = self
            .states
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        states.join(", ")
    }
}

/// `0.12 ms`, `47 ms`, `8.6 s`: as many digits as mean something.
pub(crate) fn milliseconds(millis: f64) -> String {
    if millis >= 1000.0 {
        format!("{:.1} s", millis / 1000.0)
    } else if millis >= 10.0 {
        format!("{millis:.0} ms")
    } else if millis >= 1.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.2} ms")
    }
}

/// The number, or what stands for it in a sentence where nobody could see.
pub(crate) fn or_unknown<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "?".into(), |number| number.to_string())
}

/// Writes both reports into `folder`, and a picture of the third story if it was told, each of them whole or not at
/// all. Returns where they are.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn write(report: &Report, folder: &Folder) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![
        ("report.html", html::render(report)),
        ("report.json", json::render(report)?),
    ];
    let burst = |story: &&StoryReport| story.name == "burst-on-a-stack";
    if let Some(story) = report.stories.iter().find(burst) {
        files.push(("burst-on-a-stack.svg", picture::render(story)));
    }
    let files = files.iter();
    files.map(|(name, text)| folder.write(name, text)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A report with one story and two policies, one of which the kernel's table was not read for.
    pub(crate) fn synthetic() -> Report {
        let series = (0..50)
            .map(|step| Point {
                t_ms: step * 40,
                close_wait: if step > 20 { 49 } else { 0 },
                open: 50,
                syn_sent: 0,
            })
            .collect();
        let stack = PolicyReport {
            order: "lifo",
            policy: "nothing",
            title: "no look <at> all & \"nothing\" else",
            close_wait_max: Some(49),
            close_wait_at_end: Some(49),
            close_wait_socket_seconds: Some(58.8),
            close_wait_longest_ms: Some(1200.0),
            open_at_end: Some(50),
            dialled: 50,
            dead_handed_out: 3,
            fin_to_close_ms: Summary::of(&[Duration::from_millis(1200)]),
            idle_cpu_ms: Some(0.04),
            never_closed: Some(49),
            requests: 90,
            remotes: vec![Remote {
                address: IpAddr::from([127, 0, 0, 1]),
                states: BTreeMap::from([("CLOSE_WAIT", 49), ("ESTABLISHED", 1)]),
            }],
            series,
            ..PolicyReport::default()
        };
        let blind = PolicyReport {
            order: "fifo",
            policy: "watch",
            title: "evicted by a FIN",
            dialled: 50,
            ..PolicyReport::default()
        };
        Report {
            schema: 1,
            version: "0.0.0",
            when: "2026-01-01T00:00:00Z".into(),
            took_ms: 2000,
            scale: "quick",
            server: None,
            machine: Machine::default(),
            method: vec!["By looking.".into()],
            notes: vec!["Nothing was left out.".into()],
            claims: vec![Claim {
                claim: "None was left.".into(),
                holds: false,
                seen: "49 were left.".into(),
            }],
            stories: vec![StoryReport {
                name: "burst-on-a-stack",
                title: "Burst on a stack",
                setup: "A burst.".into(),
                seen: "Much.".into(),
                close_wait_side: "client",
                took_ms: 2000,
                parameters: BTreeMap::new(),
                policies: vec![stack, blind],
            }],
        }
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let durations: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let summary = Summary::of(&durations).expect("of something");
        assert_eq!(
            (summary.p50, summary.p99, summary.max),
            (100.0, 198.0, 200.0)
        );
        let one = Summary::of(&[Duration::from_millis(7)]).expect("of something");
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_busiest_addresses_come_first() {
        let remotes = (0..20u8)
            .map(|host| {
                let states = BTreeMap::from([("CLOSE_WAIT", usize::from(host))]);
                (IpAddr::from([127, 0, 0, host]), states)
            })
            .collect();
        let busiest = Remote::busiest(&remotes);
        assert_eq!(busiest.len(), Remote::SHOWN);
        assert_eq!(busiest[0].address, IpAddr::from([127, 0, 0, 19]));
        assert_eq!(busiest[0].states_in_words(), "19 CLOSE_WAIT");
    }

    #[test]
    fn every_report_is_written_and_no_draft_is_left() {
        let folder = std::env::temp_dir().join(format!("lab-report-{}", std::process::id()));
        let prepared = Folder::prepare(folder.clone()).expect("writable");
        let paths = write(&synthetic(), &prepared).expect("writable");
        drop(prepared);
        assert!(paths.iter().all(|path| path.is_file()));
        assert_eq!(fs::read_dir(&folder).expect("there").count(), paths.len());
        fs::remove_dir_all(folder).expect("ours");
    }
}
