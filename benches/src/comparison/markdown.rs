//! The comparison as a page that is kept beside the code.

use std::fmt::Write;

use super::{Comparison, METHOD};
use crate::findings::{Table, is_ours};

/// The page.
pub fn render(comparison: &Comparison) -> String {
    let mut page = String::from("# Connection pools, side by side\n\n");
    page.push_str("Written by `compare`; [README.md](README.md) says how to read it and how to make it anew.\n\n");
    for line in comparison.circumstances() {
        let _ = writeln!(page, "* {line}");
    }
    if comparison.targets().next().is_some() {
        let _ = writeln!(page, "\n## What it was to show: {}\n", comparison.verdict());
        let mut table = Table::new("", &["target", "seen", ""]);
        for target in comparison.targets() {
            let verdict = match target.holds {
                Some(false) => "**missed**",
                _ => target.verdict(),
            };
            table.row([target.target.clone(), target.seen.clone(), verdict.into()]);
        }
        render_table(&mut page, &table, |_| false);
    }
    for chapter in &comparison.chapters {
        let _ = writeln!(page, "\n## {}\n", chapter.question);
        let _ = writeln!(page, "{}", chapter.finding.seen);
        for table in &chapter.finding.tables {
            let _ = writeln!(page, "\n{}:\n", table.title);
            render_table(&mut page, table, is_ours);
        }
        for line in &chapter.finding.method {
            let _ = writeln!(page, "\n{line}");
        }
    }
    page.push_str("\n## How it was measured\n");
    for line in METHOD {
        let _ = writeln!(page, "\n{line}");
    }
    page
}

/// Numbers to the right, and in bold what is to be.
fn render_table(page: &mut String, table: &Table, is_bold: fn(&str) -> bool) {
    let line = |cells: &[String], mark: &str| {
        let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
        let cells = cells.map(|cell| match cell.is_empty() {
            true => cell,
            false => format!("{mark}{cell}{mark}"),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    page.push_str(&line(&table.headings, ""));
    let is_figure = |column: usize| {
        let mut cells = table.rows.iter().map(|row| row[column].chars().next());
        column > 0 && cells.all(|first| first.is_none_or(|first| !first.is_alphabetic()))
    };
    let rules =
        (0..table.headings.len()).map(|column| if is_figure(column) { "--:" } else { "---" });
    let _ = writeln!(page, "|{}|", rules.collect::<Vec<_>>().join("|"));
    for row in &table.rows {
        page.push_str(&line(row, if is_bold(&row[0]) { "**" } else { "" }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::synthetic;
    use super::*;

    #[test]
    fn tables_keep_their_columns_whatever_is_in_a_cell() {
        let page = render(&synthetic());
        assert!(
            page.contains(
                "|  | bytes \\| words |\n|---|--:|\n| **ours** | **40** |\n| a\\|b | 48 |\n"
            ),
            "{page}"
        );
        assert!(page.contains("| at most 8 | 40 | **missed** |"), "{page}");
        assert!(!page.contains("\n\n\n"), "{page}");
    }
}
