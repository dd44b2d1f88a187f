//! Horizontal bars as inline SVG, one for each contender.

use std::fmt::Write;

use crate::findings::{Plot, digits, is_ours};
use crate::page::escape;

/// How the bars look.
pub(super) const STYLE: &str = include_str!("bars.css");

const WIDTH: f64 = 460.0;
const LEFT: f64 = 180.0;
const RIGHT: f64 = 52.0;
const ROW: f64 = 17.0;

/// A bar that is this many times as long as the one in the middle is cut off, so that the others can be told apart.
const CUT: f64 = 4.0;

/// The plot, or nothing if there is nothing to draw.
pub(super) fn render(plot: &Plot) -> String {
    let drawable = |(_, value): &&(String, f64)| value.is_finite();
    let bars: Vec<_> = plot.bars.iter().filter(drawable).collect();
    if bars.is_empty() {
        return String::new();
    }
    let end = longest(bars.iter().map(|(_, value)| *value).collect());
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value / end).min(1.0);
    let height = ROW * bars.len() as f64 + 4.0;
    let title = escape(&plot.title);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n"
    );
    if let Some(mark) = plot.mark.filter(|mark| *mark <= end) {
        let x = x(mark);
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{height}\" />"
        );
    }
    for (row, (name, value)) in bars.into_iter().enumerate() {
        let top = 2.0 + ROW * row as f64;
        let (text, right) = (top + ROW * 0.68, x(*value));
        let class = match name {
            name if is_ours(name) => "ours",
            name if name.to_lowercase().starts_with("floor") || name == "no pool" => "floor",
            _ => "rival",
        };
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" />",
            LEFT - 6.0,
            escape(name),
            top + 2.0,
            right - LEFT,
            ROW - 4.0,
        );
        if *value > end {
            let _ = writeln!(
                svg,
                "<path class=\"cut\" d=\"M{:.1} {:.1}l4 {:.1}m4 0l-4 -{:.1}\" />",
                right - 18.0,
                top + 1.0,
                ROW - 2.0,
                ROW - 2.0,
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            right + 5.0,
            digits(*value),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where the axis ends.
fn longest(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let most = CUT * values[values.len() / 2];
    let shown = values.iter().filter(|value| **value <= most);
    shown.copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_with_the_longest_bar_that_leaves_the_others_legible() {
        assert_eq!(longest(vec![1.0, 2.0, 3.0]), 3.0);
        assert_eq!(longest(vec![1.0, 2.0, 3.0, 1e4]), 3.0);
    }

    #[test]
    fn a_bar_that_is_cut_off_says_so_and_nothing_makes_no_plot() {
        let plot = |values: &[f64]| Plot {
            bars: values.iter().map(|&value| ("x".into(), value)).collect(),
            ..Plot::default()
        };
        assert_eq!(
            render(&plot(&[1.0, 2.0, 3.0, 1e4]))
                .matches("\"cut\"")
                .count(),
            1
        );
        assert_eq!(render(&plot(&[f64::NAN])), "");
    }
}
