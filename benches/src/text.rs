//! Findings and tables as text for a terminal.

use std::fmt::Write;

use crate::findings::{Finding, Table};

/// The tables, what came of them, the targets, and how it was measured.
pub fn render(finding: &Finding) -> String {
    let mut text = String::new();
    for table in &finding.tables {
        let _ = writeln!(text, "{}", render_table(table));
    }
    let _ = writeln!(text, "{}", wrapped(&finding.seen));
    for target in &finding.targets {
        let (verdict, seen) = (target.verdict(), &target.seen);
        let _ = writeln!(text, "  {verdict:<6}  {}: {seen}", target.target);
    }
    if !finding.targets.is_empty() {
        text.push('\n');
    }
    for sentence in &finding.method {
        text.push_str(&wrapped(sentence));
    }
    text
}

fn render_table(table: &Table) -> String {
    let mut rows = vec![table.headings.clone()];
    rows.extend_from_slice(&table.rows);
    format!("{}\n{}", table.title, align(&rows, 1))
}

/// So many columns of words to the left, the numbers after them to the right.
pub fn align(rows: &[Vec<String>], of_words: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column < of_words {
                true => write!(line, "  {cell:<width$}"),
                false => write!(line, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn wrapped(text: &str) -> String {
    let lines = wrap(text, 108);
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Lines of at most `width` characters.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.into());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_under_its_heading() {
        let rows = [["order", "policy", "max"], ["lifo", "nothing", "49"]];
        let rows: Vec<_> = rows.map(|row| row.map(String::from).to_vec()).into();
        assert_eq!(
            align(&rows, 2),
            "  order  policy   max\n  lifo   nothing   49\n"
        );
    }

    #[test]
    fn long_sentences_are_wrapped_between_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
    }
}
