//! The third story as one picture, for a page that shows nothing else of the report.

use std::fmt::Write;

use yardstick::page::COLOURS;

use super::plot::{self, Axes, HEIGHT, WIDTH};
use super::{PolicyReport, StoryReport, milliseconds, or_unknown};

/// Whose plots stand side by side, and what is written above them.
const SHOWN: [(&str, &str); 3] = [
    ("probe", "probed at checkout"),
    ("probe+reap", "probed, and closed by age"),
    ("watch+reap", "watched: this pool"),
];

const GAP: f64 = 20.0;
const ABOVE: f64 = 52.0;
const BELOW: f64 = 34.0;

/// The text of an SVG file that needs nothing beside it and is readable on a light and on a dark page.
pub(super) fn render(story: &StoryReport) -> String {
    let shown =
        SHOWN.map(|(name, title)| (PolicyReport::find(&story.policies, "lifo", name), title));
    let series = shown
        .iter()
        .filter_map(|(policy, _)| Some(&policy.as_ref()?.series[..]));
    let axes = Axes::around(series);
    let width = 3.0 * WIDTH + 4.0 * GAP;
    let height = ABOVE + HEIGHT + BELOW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>Sockets over time after a burst on a LIFO stack</title>\n<style>\n{}{}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"10\" />\n",
        COLOURS,
        include_str!("picture.css"),
    );
    for ((policy, title), place) in shown.into_iter().zip(0u8..) {
        let Some(policy) = policy else { continue };
        let x = GAP + f64::from(place) * (WIDTH + GAP);
        let (class, fate) = fate(policy);
        let _ = writeln!(
            svg,
            "<text class=\"title\" x=\"{x}\" y=\"26\">{title}</text>\n\
             <text class=\"{class}\" x=\"{x}\" y=\"43\">{fate}</text>",
        );
        let plot = plot::render(&policy.series, axes, title);
        let place = format!("<svg x=\"{x}\" y=\"{ABOVE}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" ");
        svg.push_str(&plot.replacen("<svg ", &place, 1));
    }
    let y = height - 13.0;
    let _ = write!(
        svg,
        "<text class=\"note\" x=\"{GAP}\" y=\"{y}\"><tspan class=\"bad\">red: CLOSE_WAIT</tspan>, \
         <tspan class=\"blue\">blue: open</tspan>. A burst of connections on a LIFO stack, then one checkout at a time; \
         the states are the kernel's.</text>\n</svg>\n",
    );
    svg
}

/// Whether it went well, and what became of the connections that the server closed.
fn fate(policy: &PolicyReport) -> (&'static str, String) {
    let left = or_unknown(policy.left());
    match (policy.never_closed, policy.fin_to_close_ms) {
        (Some(0), Some(summary)) => {
            let class = if summary.max <= 100.0 { "good" } else { "bad" };
            let slowest = milliseconds(summary.max);
            (
                class,
                format!("{left} left in CLOSE_WAIT, closed {slowest} after the FIN"),
            )
        }
        _ => ("bad", format!("{left} left in CLOSE_WAIT, never closed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::synthetic;

    #[test]
    fn the_picture_needs_nothing_beside_it() {
        let mut report = synthetic();
        let story = &mut report.stories[0];
        story.policies[0].policy = "probe";
        let svg = render(story);
        assert_eq!(svg.matches("<svg ").count(), 2);
        assert_eq!(svg.matches("</svg>").count(), 2);
        assert!(svg.contains("49 left in CLOSE_WAIT, never closed"));
        let svg = svg.replacen("http://www.w3.org/2000/svg", "", 1);
        assert!(!svg.contains("http") && !svg.contains("url("));
    }
}
