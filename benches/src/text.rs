//! A finding as text for a terminal.

use std::fmt::Write;

use crate::findings::{Finding, Table};

/// The tables, what came of them, the targets, and how it was measured.
pub fn render(finding: &Finding) -> String {
    let mut text = String::new();
    for table in &finding.tables {
        let _ = writeln!(text, "{}", render_table(table));
    }
    let _ = writeln!(text, "{}\n", wrapped(&finding.seen));
    for target in &finding.targets {
        let (verdict, seen) = (target.verdict(), &target.seen);
        let _ = writeln!(text, "  {verdict:<6}  {}: {seen}", target.target);
    }
    for sentence in &finding.method {
        let _ = writeln!(text, "{}", wrapped(sentence));
    }
    text
}

/// The first column to the left, the figures after it to the right.
fn render_table(table: &Table) -> String {
    let width = |column: usize| {
        let rows = table.rows.iter().chain([&table.headings]);
        rows.map(|row| row[column].chars().count()).max()
    };
    let widths: Vec<_> = (0..table.headings.len()).filter_map(width).collect();
    let mut text = format!("{}\n", table.title);
    for row in [&table.headings].into_iter().chain(&table.rows) {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}

/// In lines of at most 110 characters, if no word is longer.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let wide = word.chars().count();
        let between = match column {
            0 => "  ",
            column if column + wide > 108 => "\n  ",
            _ => " ",
        };
        if between != " " {
            column = 1;
        }
        column += wide + 1;
        let _ = write!(lines, "{between}{word}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_stands_under_its_heading() {
        let mut table = Table::new("Sizes", &["who", "bytes"]);
        table.row(["ours".into(), "40".into()]);
        assert_eq!(
            render_table(&table),
            "Sizes\n  who   bytes\n  ours     40\n"
        );
    }

    #[test]
    fn sentences_are_wrapped_between_words() {
        let text = wrapped(&"word ".repeat(50));
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
