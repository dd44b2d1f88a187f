//! A plot of one policy as inline SVG: CLOSE_WAIT as an area, open connections as a line.

use std::fmt::Write;

use crate::sampler::Point;

pub(super) const WIDTH: f64 = 340.0;
pub(super) const HEIGHT: f64 = 128.0;
const LEFT: f64 = 30.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 20.0;

/// The axes that all plots of a story share, so that they can be compared at a glance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes {
    t_ms: u64,
    count: usize,
}

impl Axes {
    /// Wide and high enough for every one of these series.
    pub(super) fn around<'a>(series: impl Iterator<Item = &'a [Point]>) -> Self {
        let mut axes = Self { t_ms: 1, count: 1 };
        for point in series.flatten() {
            axes.t_ms = axes.t_ms.max(point.t_ms);
            let highest = point.close_wait.max(point.open).max(point.syn_sent);
            axes.count = axes.count.max(highest);
        }
        axes.count = round_up(axes.count);
        axes
    }

    fn x(self, t_ms: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * t_ms as f64 / self.t_ms as f64
    }

    fn y(self, count: usize) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * count as f64 / self.count as f64
    }

    /// A line that keeps each reading until the next, and says nothing twice.
    fn steps(self, series: &[Point], count: impl Fn(&Point) -> usize) -> String {
        let mut path = String::new();
        let mut before = None;
        for point in series {
            let count = count(point);
            if before != Some(count) {
                let (x, y) = (self.x(point.t_ms), self.y(count));
                let _ = match before {
                    None => write!(path, "M{x:.1} {y:.1}"),
                    Some(_) => write!(path, "H{x:.1}V{y:.1}"),
                };
                before = Some(count);
            }
        }
        if let Some(last) = series.last() {
            let _ = write!(path, "H{:.1}", self.x(last.t_ms));
        }
        path
    }
}

/// The next of 2, 4, 5, 6, 8 or 10 times a power of ten that is even: half of it is a label, too.
fn round_up(count: usize) -> usize {
    let mut unit = 1;
    loop {
        for step in [2, 4, 5, 6, 8, 10] {
            let end = step * unit;
            if end >= count && end % 2 == 0 {
                return end;
            }
        }
        unit *= 10;
    }
}

/// The plot, with `label` for those who cannot see it.
pub(super) fn render(series: &[Point], axes: Axes, label: &str) -> String {
    let (floor, right) = (axes.y(0), WIDTH - RIGHT);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">\n<title>{label}</title>\n"
    );
    for count in [0, axes.count / 2, axes.count] {
        let y = axes.y(count);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" />\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT - 5.0,
            y + 3.5,
        );
    }
    let seconds = axes.t_ms as f64 / 1000.0;
    for (x, anchor, text) in [
        (LEFT, "start", "0".to_string()),
        (right, "end", format!("{seconds:.1} s")),
    ] {
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
            HEIGHT - 5.0,
        );
    }
    if let (Some(first), Some(last)) = (series.first(), series.last()) {
        let area = axes.steps(series, |point| point.close_wait);
        let (start, end) = (axes.x(first.t_ms), axes.x(last.t_ms));
        let _ = writeln!(
            svg,
            "<path class=\"close-wait-area\" d=\"{area}H{end:.1}V{floor:.1}H{start:.1}Z\" />"
        );
        if series.iter().any(|point| point.syn_sent > 0) {
            let dialling = axes.steps(series, |point| point.syn_sent);
            let _ = writeln!(svg, "<path class=\"dialling\" d=\"{dialling}\" />");
        }
        let open = axes.steps(series, |point| point.open);
        let _ = writeln!(svg, "<path class=\"open\" d=\"{open}\" />");
        let _ = writeln!(svg, "<path class=\"close-wait\" d=\"{area}\" />");
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(t_ms: u64, close_wait: usize) -> Point {
        Point {
            t_ms,
            close_wait,
            open: close_wait,
            syn_sent: 0,
        }
    }

    #[test]
    fn the_axis_ends_at_a_number_that_can_be_halved() {
        let ends: Vec<_> = [1, 3, 10, 49, 50, 81, 601].map(round_up).into();
        assert_eq!(ends, [2, 4, 10, 50, 50, 100, 800]);
    }

    #[test]
    fn a_count_that_stays_is_one_horizontal_line() {
        let series = [point(0, 2), point(40, 2), point(80, 2), point(100, 0)];
        let axes = Axes::around([&series[..]].into_iter());
        let path = axes.steps(&series, |point| point.close_wait);
        assert_eq!(path, "M30.0 8.0H332.0V108.0H332.0");
    }
}
