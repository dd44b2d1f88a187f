//! What the lab expects of this pool's default, said before it is measured and judged afterwards.

use serde::Serialize;

use super::{PolicyReport, StoryReport, milliseconds};

/// The longest an idle connection may stay open after its peer's FIN, in milliseconds.
const FIN_TO_CLOSE_MS: f64 = 100.0;

/// A sentence about the default policy, and whether this run bears it out.
#[derive(Debug, Serialize)]
pub(crate) struct Claim {
    pub(crate) claim: String,
    pub(crate) holds: bool,
    /// The numbers it was judged by.
    pub(crate) seen: String,
}

/// Judges every claim that these stories can decide.
pub(crate) fn judge(stories: &[StoryReport]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for story in stories {
        match story.name {
            "keep-alive" | "crawler" | "race" => {
                claims.extend(none_dead(story, "watch+reap"));
                if story.name != "race" {
                    claims.extend(closed_in_time(story, "watch+reap"));
                }
            }
            "burst-on-a-stack" => {
                claims.extend(closed_in_time(story, "watch+reap"));
                claims.extend(none_dead(story, "watch+reap"));
                claims.extend(none_left(story, "watch+reap"));
                claims.extend(nothing_scanned(story, "watch+reap"));
                claims.extend(some_left(story, "nothing"));
                claims.extend(some_left(story, "probe"));
            }
            "slow-acceptor" => claims.extend(paced_is_gentle(story)),
            _ => {}
        }
    }
    claims
}

fn policy<'a>(story: &'a StoryReport, name: &str) -> Option<&'a PolicyReport> {
    PolicyReport::find(&story.policies, "lifo", name)
}

fn closed_in_time(story: &StoryReport, name: &str) -> Option<Claim> {
    let report = policy(story, name)?;
    let claim = format!(
        "{}: with {name}, no socket is in CLOSE_WAIT for more than {FIN_TO_CLOSE_MS} ms after its FIN",
        story.name
    );
    let longest = report.close_wait_longest_ms;
    // A server that is not the lab's own notes nothing.
    if report.fins.is_none() {
        let longest = longest?;
        return Some(Claim {
            claim,
            holds: longest <= FIN_TO_CLOSE_MS,
            seen: format!(
                "the longest CLOSE_WAIT in the table {}",
                milliseconds(longest)
            ),
        });
    }
    // What the table shows is only as fine as its readings; the server's own note is exact.
    let summary = report.fin_to_close_ms?;
    let unclosed = report.never_closed?;
    Some(Claim {
        claim,
        holds: unclosed == 0 && summary.max.max(longest.unwrap_or(0.0)) <= FIN_TO_CLOSE_MS,
        seen: format!(
            "{} FINs, the slowest close {} after it; the longest CLOSE_WAIT in the table {}; {unclosed} never closed",
            report.fins?,
            milliseconds(summary.max),
            longest.map_or_else(|| "was not seen".into(), milliseconds),
        ),
    })
}

fn none_dead(story: &StoryReport, name: &str) -> Option<Claim> {
    let report = policy(story, name)?;
    Some(Claim {
        claim: format!(
            "{}: with {name}, no dead connection is handed out",
            story.name
        ),
        holds: report.dead_handed_out == 0,
        seen: format!("{} in {} requests", report.dead_handed_out, report.requests),
    })
}

fn none_left(story: &StoryReport, name: &str) -> Option<Claim> {
    let left = policy(story, name)?.left()?;
    Some(Claim {
        claim: format!(
            "{}: with {name}, no CLOSE_WAIT is left at the end",
            story.name
        ),
        holds: left == 0,
        seen: format!("{left} left"),
    })
}

fn some_left(story: &StoryReport, name: &str) -> Option<Claim> {
    let report = policy(story, name)?;
    let left = report.left()?;
    Some(Claim {
        claim: format!(
            "{}: with {name} on a stack, CLOSE_WAIT remains to the end",
            story.name
        ),
        holds: left > 0,
        seen: format!("{left} left of {} dialled", report.dialled),
    })
}

fn paced_is_gentle(story: &StoryReport) -> Option<Claim> {
    let paced = policy(story, "paced-backlog-1024")?;
    let redial = policy(story, "redial-backlog-1024")?;
    let (left, piled_up) = (paced.close_wait_max?, redial.close_wait_max?);
    Some(Claim {
        claim: format!(
            "{}: paced dialling leaves the server fewer CLOSE_WAIT than dialling again at once, and is served more",
            story.name
        ),
        holds: left < piled_up && paced.served() > redial.served(),
        seen: format!(
            "{left} instead of {piled_up}, and {} served instead of {}",
            paced.served(),
            redial.served()
        ),
    })
}

/// A watcher that scanned would look at every idle connection each time it looks.
fn nothing_scanned(story: &StoryReport, name: &str) -> Option<Claim> {
    let report = policy(story, name)?;
    let causes = report.check_ins + report.dialled + report.fins?;
    Some(Claim {
        claim: format!("{}: with {name}, nothing is scanned", story.name),
        holds: report.watch_polls <= 2 * causes,
        seen: format!(
            "{} looks of the watcher for {} check-ins, {} dials and {} FINs",
            report.watch_polls, report.check_ins, report.dialled, report.fins?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::synthetic;

    #[test]
    fn a_claim_that_fails_says_so_with_its_numbers() {
        let mut report = synthetic();
        let story = &mut report.stories[0];
        let mut ours = story.policies[0].clone();
        ours.policy = "watch+reap";
        ours.fins = Some(49);
        story.policies.push(ours);
        let claims = judge(&report.stories);
        assert_eq!(claims.len(), 5);
        assert!(claims[..3].iter().all(|claim| !claim.holds));
        assert!(
            claims[0].seen.contains("the slowest close 1.2 s"),
            "{}",
            claims[0].seen
        );
        assert!(claims[4].holds, "the stack keeps its sockets");
    }

    #[test]
    fn what_cannot_be_seen_is_not_judged() {
        let mut report = synthetic();
        report.stories[0].policies.remove(0);
        assert!(judge(&report.stories).is_empty());
    }
}
