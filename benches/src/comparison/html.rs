//! The comparison for a person with a browser.

use std::fmt::Write;

use super::{Chapter, Comparison, METHOD, bars};
use crate::findings::{Table, Target, is_ours};
use crate::page::{self, escape};

/// The page, in one file that needs nothing beside it.
pub fn render(comparison: &Comparison) -> String {
    let mut page = page::begin("Connection pools, side by side", bars::STYLE);
    head(&mut page, comparison);
    page.push_str("<main>\n");
    for chapter in &comparison.chapters {
        render_chapter(&mut page, chapter);
    }
    page.push_str("</main>\n<footer class=\"small\">\n<h2>How it was measured</h2>\n<ul>\n");
    for line in METHOD
        .into_iter()
        .map(String::from)
        .chain(comparison.circumstances())
    {
        let _ = writeln!(page, "<li>{}</li>", code(&escape(&line)));
    }
    page.push_str("</ul>\n</footer>\n");
    page::end(page)
}

fn head(page: &mut String, comparison: &Comparison) {
    let _ = write!(
        page,
        "<header>\n<h1>Connection pools, side by side</h1>\n\
         <p class=\"faint\">Every pool on the same work, in one run. Green is ours, grey are the yardsticks, blue the others; \
         the dashed line is the yardstick each plot is judged by.</p>\n\
         <p class=\"faint small\">{}, {}.</p>\n<nav>\n",
        escape(&comparison.when),
        escape(&comparison.machine.in_words()),
    );
    for chapter in &comparison.chapters {
        let _ = writeln!(
            page,
            "<a href=\"#{}\">{}</a>",
            chapter.name,
            escape(chapter.question)
        );
    }
    page.push_str("</nav>\n");
    if comparison.targets().next().is_some() {
        let _ = write!(
            page,
            "<details open=\"open\">\n<summary>What it was to show: {}</summary>\n<ul class=\"claims small\">\n",
            comparison.verdict()
        );
        for target in comparison.targets() {
            render_target(page, target);
        }
        page.push_str("</ul>\n</details>\n");
    }
    page.push_str("</header>\n");
}

fn render_target(page: &mut String, target: &Target) {
    let (class, mark) = match target.holds {
        Some(true) => ("holds", "\u{2713}"),
        Some(false) => ("failed", "\u{2717}"),
        None => ("unseen", "?"),
    };
    let _ = writeln!(
        page,
        "<li class=\"{class}\"><span class=\"mark\">{mark}</span> {} <span class=\"faint\">({})</span></li>",
        escape(&target.target),
        escape(&target.seen),
    );
}

fn render_chapter(page: &mut String, chapter: &Chapter) {
    let finding = &chapter.finding;
    let _ = write!(
        page,
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"seen\">{}</p>\n",
        chapter.name,
        escape(chapter.question),
        code(&escape(&finding.seen)),
    );
    if !finding.plots.is_empty() {
        page.push_str("<div class=\"grid-of-plots bars\">\n");
        for plot in &finding.plots {
            let _ = write!(
                page,
                "<div class=\"plot\">\n<p>{}</p>\n{}</div>\n",
                escape(&plot.title),
                bars::render(plot)
            );
        }
        page.push_str("</div>\n");
    }
    for table in &finding.tables {
        render_table(page, table);
    }
    for line in &finding.method {
        let _ = writeln!(page, "<p class=\"small faint\">{}</p>", code(&escape(line)));
    }
    page.push_str("</section>\n");
}

fn render_table(page: &mut String, table: &Table) {
    let _ = write!(
        page,
        "<div class=\"scroll\">\n<table>\n<caption>{}</caption>\n<thead><tr>",
        escape(&table.title)
    );
    for (column, heading) in table.headings.iter().enumerate() {
        let _ = write!(page, "<th{}>{}</th>", words(column), escape(heading));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        let class = match is_ours(&row[0]) {
            true => " class=\"ours\"",
            false => "",
        };
        let _ = write!(page, "<tr{class}>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(page, "<td{}>{}</td>", words(column), escape(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn words(column: usize) -> &'static str {
    if column == 0 { " class=\"words\"" } else { "" }
}

/// What stands between backticks, as code.
fn code(text: &str) -> String {
    let mut parts = text.split('`');
    let mut page = parts.next().unwrap_or_default().to_string();
    while let Some(inside) = parts.next() {
        let _ = write!(page, "<code>{inside}</code>");
        page.push_str(parts.next().unwrap_or_default());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::tests::synthetic;
    use super::*;

    #[test]
    fn the_page_is_well_formed_and_needs_nothing_from_elsewhere() {
        let page = render(&synthetic());
        assert_eq!(page::find_fault(&page), None);
        assert!(page.contains("Sizes, &lt;all&gt;") && page.contains("How large &amp; why?"));
    }

    #[test]
    fn what_was_missed_is_shown_as_plainly_as_what_holds() {
        let page = render(&synthetic());
        for class in ["holds", "failed", "unseen"] {
            assert!(page.contains(&format!("<li class=\"{class}\">")), "{class}");
        }
    }
}
