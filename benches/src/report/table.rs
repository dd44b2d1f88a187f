//! The report for a person at a terminal.

use std::fmt::Write;

use yardstick::text::{align, wrap};

use super::{IMITATED, PolicyReport, Report, StoryReport, milliseconds};

/// What the headings mean.
const LEGEND: [&str; 3] = [
    "CLOSE_WAIT: closed by the peer and not by us, most at once (there: at the server); at end: left; socket-s: their \
     seconds",
    "open: ours at the end; dialled: ours in all; dead: failed on a connection closed before checkout; lost: all \
     failed; of: requests",
    "says: what this pool tells of itself; the slowest eviction is its own part of the time from FIN to close",
];
const FIN_CLOSE: &str = "FIN-close: from the server's FIN to our close; \">\": a lower bound, some never closed; \
                         \"-\": none to measure, or nobody could see";
const LONGEST: &str = "longest: of one socket in CLOSE_WAIT, to within two readings (only a server of the lab's own notes \
                       its FIN); \"-\": nobody could see";

/// The lines of all stories, and whether the claims hold: all of them with `verbose`, else those that do not.
pub(crate) fn render(report: &Report, verbose: bool) -> String {
    let mut text = render_stories(&report.stories, report.server.is_some());
    if !report.claims.is_empty() {
        let holding = report.claims.iter().filter(|claim| claim.holds).count();
        let _ = writeln!(
            text,
            "\nWhat was expected: {holding} of {} expectations hold",
            report.claims.len()
        );
        for claim in &report.claims {
            if claim.holds && !verbose {
                continue;
            }
            let verdict = if claim.holds { "holds " } else { "FAILED" };
            let _ = writeln!(text, "  {verdict}  {}", claim.claim);
            let _ = writeln!(text, "          {}", claim.seen);
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    text
}

/// The tables, and below them what their headings mean; nothing of no story.
pub(crate) fn render_stories(stories: &[StoryReport], is_foreign: bool) -> String {
    let mut text = String::new();
    if stories.is_empty() {
        return text;
    }
    for story in stories {
        let _ = writeln!(text, "{}", render_story(story, is_foreign));
    }
    let fin_close = if is_foreign { LONGEST } else { FIN_CLOSE };
    for line in LEGEND.into_iter().chain([fin_close, IMITATED]) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// One story's rows, and what was seen in it.
fn render_story(story: &StoryReport, is_foreign: bool) -> String {
    let mut rows = vec![heading(story, is_foreign)];
    rows.extend(story.policies.iter().map(|policy| row(policy, is_foreign)));
    let mut text = format!("{}\n", story.title);
    text.push_str(&align(&rows, 2));
    let ours = story.policies.iter().filter(|policy| policy.is_ours());
    let told = ours.map(|policy| format!("{} says: {}.", policy.policy, policy.told.in_words()));
    for line in std::iter::once(story.seen.clone())
        .chain(told)
        .flat_map(|text| wrap(&text, 110))
    {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn heading(story: &StoryReport, is_foreign: bool) -> Vec<String> {
    let close_wait = match story.close_wait_side {
        "server" => "CLOSE_WAIT there",
        _ => "CLOSE_WAIT",
    };
    let closing: &[&str] = match is_foreign {
        true => &["longest"],
        false => &["FIN-close p50", "max"],
    };
    let before = [
        "order", "policy", close_wait, "at end", "socket-s", "open", "dialled", "dead", "lost",
        "of",
    ];
    let headings = [&before, closing, &["idle CPU"]].concat();
    headings.into_iter().map(String::from).collect()
}

fn row(policy: &PolicyReport, is_foreign: bool) -> Vec<String> {
    let summary = policy.fin_to_close_ms;
    let mut max = or_dash(summary.map(|summary| milliseconds(summary.max)));
    // Those that were never closed count with their age so far.
    if policy.never_closed.is_some_and(|unclosed| unclosed > 0) {
        max = format!(">{max}");
    }
    let socket_seconds = policy.close_wait_socket_seconds;
    let mut row = vec![
        policy.order.into(),
        policy.policy.into(),
        or_dash(policy.close_wait_max),
        or_dash(policy.close_wait_at_end),
        or_dash(socket_seconds.map(|sum| format!("{sum:.1}"))),
        or_dash(policy.open_at_end),
        policy.dialled.to_string(),
        policy.dead_handed_out.to_string(),
        policy.requests_lost.to_string(),
        policy.requests.to_string(),
    ];
    match is_foreign {
        true => row.push(or_dash(policy.close_wait_longest_ms.map(milliseconds))),
        false => row.extend([
            or_dash(summary.map(|summary| milliseconds(summary.p50))),
            max,
        ]),
    }
    row.push(or_dash(policy.idle_cpu_ms.map(milliseconds)));
    row
}

/// The value, or a dash for what nobody could see.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Claim;
    use crate::report::tests::synthetic;

    #[test]
    fn the_table_names_what_failed_and_what_was_not_seen() {
        let text = render(&synthetic(), false);
        assert!(
            text.contains("FAILED  None was left.\n          49 were left."),
            "{text}"
        );
        assert!(text.contains(">1.2 s"), "{text}");
        let blind = text
            .lines()
            .find(|line| line.contains("fifo"))
            .expect("listed");
        assert!(blind.split_whitespace().any(|cell| cell == "-"), "{text}");
    }

    #[test]
    fn what_held_is_one_line_unless_more_is_asked_for() {
        let mut report = synthetic();
        report.claims[0].holds = true;
        let text = render(&report, false);
        assert!(text.contains("1 of 1 expectations hold\n"), "{text}");
        assert!(!text.contains("None was left."), "{text}");
        let text = render(&report, true);
        assert!(text.contains("holds   None was left."), "{text}");

        report.claims.push(Claim {
            claim: "None was dead.".into(),
            holds: false,
            seen: "3 were dead.".into(),
        });
        let text = render(&report, false);
        assert!(text.contains("1 of 2 expectations hold\n"), "{text}");
        assert!(text.contains("FAILED  None was dead."), "{text}");
        assert!(!text.contains("None was left."), "{text}");
    }

    #[test]
    fn the_headings_are_explained_and_the_names_not_mistaken_for_rivals() {
        let mut report = synthetic();
        let text = render(&report, false);
        for heading in [
            "CLOSE_WAIT:",
            "at end:",
            "socket-s:",
            "open:",
            "dialled:",
            "dead:",
            "lost:",
            "of:",
            "says:",
            "FIN-close:",
            "\">\":",
            "\"-\":",
        ] {
            assert!(text.contains(heading), "{heading} in {text}");
        }
        assert_eq!(text.matches(IMITATED).count(), 1, "{text}");

        report.server = Some("tcp://localhost:80".into());
        report.claims.clear();
        let text = render(&report, false);
        assert!(
            text.contains("longest:") && !text.contains("FIN-close"),
            "{text}"
        );
        assert!(
            !text.contains("\n\n\n") && !text.ends_with("\n\n"),
            "{text}"
        );
    }

    #[test]
    fn of_no_story_nothing_is_said() {
        assert_eq!(render_stories(&[], false), "");
    }
}
