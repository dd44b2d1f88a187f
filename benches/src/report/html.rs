//! The report for a person with a browser: one file, no script, nothing fetched.

use std::fmt::Write;

use yardstick::page::{self, escape};

use super::plot::{self, Axes};
use super::table::or_dash;
use super::{Claim, IMITATED, PolicyReport, Report, StoryReport, milliseconds};

/// The text of `report.html`, well-formed as XML so that a test can check it.
pub(super) fn render(report: &Report) -> String {
    let mut page = page::begin("The lab: what idle connections do to a pool", "");
    head(&mut page, report);
    page.push_str("<main>\n");
    for story in &report.stories {
        render_story(&mut page, story);
    }
    page.push_str("</main>\n");
    foot(&mut page, report);
    page::end(page)
}

fn head(page: &mut String, report: &Report) {
    let _ = write!(
        page,
        "<header>\n<h1>What idle connections do to a pool</h1>\n\
         <p class=\"faint\">Once a peer has closed an idle connection, the socket stays in CLOSE_WAIT until our side \
         closes it, too, and the next user may be handed a corpse. {} stories told on real sockets, each under several \
         policies: the same pool with parts of it switched off. {IMITATED} Every state was read from the kernel's socket table.</p>\n\
         <p class=\"faint small\">{}, a {} run of {}.</p>\n",
        report.stories.len(),
        escape(&report.when),
        report.scale,
        milliseconds(report.took_ms as f64),
    );
    if let Some(server) = &report.server {
        let _ = writeln!(page, "<p>Told against <code>{}</code>.</p>", escape(server));
    }
    if let Some(story) = report.stories.iter().find(|s| s.name == "burst-on-a-stack") {
        hero(page, &story.policies);
    }
    if !report.claims.is_empty() {
        let failed = report.claims.iter().filter(|claim| !claim.holds).count();
        let verdict = match failed {
            0 => "all of it was seen".to_string(),
            _ => format!("{failed} of {} did not hold", report.claims.len()),
        };
        let _ = write!(
            page,
            "<details{}>\n<summary>What was expected beforehand: {verdict}</summary>\n<ul class=\"claims small\">\n",
            if failed > 0 { " open=\"open\"" } else { "" },
        );
        for claim in &report.claims {
            render_claim(page, claim);
        }
        page.push_str("</ul>\n</details>\n");
    }
    page.push_str("</header>\n");
}

/// The three numbers of the third story that a visitor should not miss.
fn hero(page: &mut String, policies: &[PolicyReport]) {
    let find = |name| PolicyReport::find(policies, "lifo", name);
    page.push_str("<div class=\"hero\">\n");
    if let Some(probe) = find("probe") {
        let left = probe.close_wait_at_end;
        figure(
            page,
            "bad",
            &or_dash(left),
            "sockets left in CLOSE_WAIT after a burst by a stack that is probed at checkout",
        );
    }
    if let Some(ours) = find("watch+reap") {
        let left = ours.close_wait_at_end;
        let class = if left == Some(0) { "good" } else { "bad" };
        figure(
            page,
            class,
            &or_dash(left),
            "left by the same stack with its idle connections watched",
        );
        if let Some(summary) = ours.fin_to_close_ms {
            let class = if summary.max <= 100.0 { "good" } else { "bad" };
            let slowest = milliseconds(summary.max);
            figure(
                page,
                class,
                &slowest,
                "from the server's FIN to our close, the slowest of all",
            );
        }
    }
    page.push_str("</div>\n");
}

fn figure(page: &mut String, class: &str, number: &str, text: &str) {
    let _ = writeln!(
        page,
        "<div class=\"{class}\"><strong>{}</strong>{text}</div>",
        escape(number)
    );
}

fn render_claim(page: &mut String, claim: &Claim) {
    let (class, mark) = match claim.holds {
        true => ("holds", "\u{2713}"),
        false => ("failed", "\u{2717}"),
    };
    let _ = writeln!(
        page,
        "<li class=\"{class}\"><span class=\"mark\">{mark}</span> {} <span class=\"faint\">({})</span></li>",
        escape(&claim.claim),
        escape(&claim.seen),
    );
}

fn render_story(page: &mut String, story: &StoryReport) {
    let _ = write!(
        page,
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"faint\">{}</p>\n<p class=\"seen\">{}</p>\n",
        story.name,
        escape(story.title),
        escape(&story.setup),
        escape(&story.seen),
    );
    let axes = Axes::around(story.policies.iter().map(|policy| &policy.series[..]));
    let side = match story.close_wait_side {
        "server" => "CLOSE_WAIT at the server",
        _ => "CLOSE_WAIT",
    };
    let dials = story.policies.iter().flat_map(|policy| &policy.series);
    let _ = write!(
        page,
        "<div class=\"legend small\"><span class=\"cw\">{side}</span><span class=\"op\">open at the client</span>{}</div>\n\
         <div class=\"grid-of-plots\">\n",
        match dials.map(|point| point.syn_sent).max() {
            Some(1..) => "<span class=\"dl\">dialling (SYN_SENT)</span>",
            _ => "",
        }
    );
    for policy in &story.policies {
        render_plot(page, policy, axes, story.close_wait_side == "server");
    }
    page.push_str("</div>\n<details>\n<summary>All numbers</summary>\n");
    render_table(page, story);
    render_told(page, story);
    render_remotes(page, story);
    page.push_str("</details>\n</section>\n");
}

fn render_plot(page: &mut String, policy: &PolicyReport, axes: Axes, at_server: bool) {
    let label = format!(
        "{} {}: CLOSE_WAIT sockets and open connections over time; at most {} in CLOSE_WAIT, {} at the end",
        policy.order,
        policy.policy,
        or_dash(policy.close_wait_max),
        or_dash(policy.close_wait_at_end),
    );
    let _ = write!(
        page,
        "<div class=\"plot{}\">\n<span class=\"order\">{}</span>\n<h3 class=\"mono\">{}</h3>\n<p>{}</p>\n",
        if policy.is_ours() { " ours" } else { "" },
        policy.order.to_uppercase(),
        escape(policy.policy),
        escape(policy.title),
    );
    if policy.series.is_empty() {
        page.push_str("<p>The socket table could not be read.</p>\n");
    } else {
        page.push_str(&plot::render(&policy.series, axes, &escape(&label)));
    }
    page.push_str("<dl>\n");
    let (most, left) = (policy.close_wait_max, policy.close_wait_at_end);
    fact(page, "CLOSE_WAIT", &or_dash(most), most > Some(0));
    fact(page, "at end", &or_dash(left), left > Some(0));
    if at_server {
        fact(
            page,
            "served",
            &policy.served().to_string(),
            policy.served() == 0,
        );
        fact(page, "dialled", &policy.dialled.to_string(), false);
        fact(page, "SYNs again", &or_dash(policy.syn_retries), false);
    } else {
        fact(page, "open", &or_dash(policy.open_at_end), false);
        fact(page, "dialled", &policy.dialled.to_string(), false);
        fact(
            page,
            "dead",
            &policy.dead_handed_out.to_string(),
            policy.dead_handed_out > 0,
        );
        fact(
            page,
            "lost",
            &policy.requests_lost.to_string(),
            policy.requests_lost > 0,
        );
    }
    page.push_str("</dl>\n</div>\n");
}

fn fact(page: &mut String, name: &str, value: &str, is_bad: bool) {
    let class = if is_bad { " class=\"bad-number\"" } else { "" };
    let _ = writeln!(page, "<div><dt>{name}</dt><dd{class}>{value}</dd></div>");
}

fn render_table(page: &mut String, story: &StoryReport) {
    let headings = [
        "CLOSE_WAIT max",
        "at end",
        "socket-seconds",
        "longest",
        "open at end",
        "dialled",
        "dead handed out",
        "requests lost",
        "requests",
        "sent after FIN",
        "never closed",
        "FIN to close p50",
        "p99",
        "max",
        "idle CPU",
        "CPU in all",
    ];
    page.push_str("<div class=\"scroll\">\n<table>\n<thead><tr><th class=\"words\">order</th><th class=\"words\">policy</th>");
    for heading in headings {
        let _ = write!(page, "<th>{heading}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for policy in &story.policies {
        let summary = policy.fin_to_close_ms;
        let bound = match policy.never_closed {
            Some(1..) => "\u{2265} ",
            _ => "",
        };
        let cells = [
            or_dash(policy.close_wait_max),
            or_dash(policy.close_wait_at_end),
            or_dash(
                policy
                    .close_wait_socket_seconds
                    .map(|sum| format!("{sum:.1}")),
            ),
            or_dash(policy.close_wait_longest_ms.map(milliseconds)),
            or_dash(policy.open_at_end),
            policy.dialled.to_string(),
            policy.dead_handed_out.to_string(),
            policy.requests_lost.to_string(),
            policy.requests.to_string(),
            or_dash(policy.requests_after_fin),
            or_dash(policy.never_closed),
            or_dash(summary.map(|summary| milliseconds(summary.p50))),
            or_dash(summary.map(|summary| milliseconds(summary.p99))),
            or_dash(summary.map(|summary| format!("{bound}{}", milliseconds(summary.max)))),
            or_dash(policy.idle_cpu_ms.map(milliseconds)),
            or_dash(policy.cpu_ms.map(milliseconds)),
        ];
        let class = if policy.is_ours() {
            " class=\"ours\""
        } else {
            ""
        };
        let _ = write!(
            page,
            "<tr{class}><td class=\"words\">{}</td><td class=\"words\">{}</td>",
            policy.order,
            escape(policy.policy)
        );
        for cell in cells {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

/// What each pool said of itself.
fn render_told(page: &mut String, story: &StoryReport) {
    page.push_str("<p class=\"small faint\">What the pool itself tells:</p>\n<div class=\"scroll\">\n<table>\n<tbody>\n");
    for policy in &story.policies {
        let class = if policy.is_ours() {
            " class=\"ours\""
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "<tr{class}><td class=\"words\">{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>",
            policy.order,
            escape(policy.policy),
            escape(&policy.told.in_words()),
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

/// By remote address, as those who found such sockets counted them; with one server there is nothing to compare.
fn render_remotes(page: &mut String, story: &StoryReport) {
    let crowded = |policy: &&PolicyReport| policy.remotes.len() > 1;
    if !story.policies.iter().any(|policy| crowded(&policy)) {
        return;
    }
    page.push_str("<p class=\"small faint\">The client's sockets at the end, by remote address, the busiest first:</p>\n");
    page.push_str("<div class=\"scroll\">\n<table>\n<tbody>\n");
    for policy in story.policies.iter().filter(crowded) {
        for (place, remote) in policy.remotes.iter().take(5).enumerate() {
            let name = if place == 0 { policy.policy } else { "" };
            let _ = writeln!(
                page,
                "<tr><td class=\"words\">{}</td><td class=\"words mono\">{}</td><td class=\"words\">{}</td></tr>",
                escape(name),
                remote.address,
                remote.states_in_words(),
            );
        }
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn foot(page: &mut String, report: &Report) {
    page.push_str("<footer class=\"small\">\n<h2>How it was measured</h2>\n<ul>\n");
    // The head says that already, where the policies are introduced.
    let method = report.method.iter().filter(|line| *line != IMITATED);
    for line in method.chain(&report.notes) {
        let _ = writeln!(page, "<li>{}</li>", escape(line));
    }
    let _ = write!(
        page,
        "</ul>\n<p class=\"faint\">Version {}. {}. The same numbers, and more, are in <code>report.json</code> beside \
         this file.</p>\n</footer>\n",
        escape(report.version),
        escape(&report.machine.in_words()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::synthetic;

    #[test]
    fn the_page_is_well_formed() {
        assert_eq!(page::find_fault(&render(&synthetic())), None);
    }

    #[test]
    fn what_is_said_cannot_break_the_page() {
        let page = render(&synthetic());
        assert!(page.contains("no look &lt;at&gt; all &amp; &quot;nothing&quot; else"));
    }

    #[test]
    fn the_policies_are_said_once_to_be_imitations() {
        let mut report = synthetic();
        report.method.push(IMITATED.into());
        assert_eq!(render(&report).matches(IMITATED).count(), 1);
    }

    #[test]
    fn a_failed_claim_is_shown_unasked() {
        let page = render(&synthetic());
        assert!(page.contains("<details open=\"open\">"));
        assert!(page.contains("1 of 1 did not hold"));
    }
}
