//! One page for a person with a browser: no script, nothing fetched, readable by light and in the dark.

/// The colours of every report, and the look of its plots.
pub const COLOURS: &str = include_str!("colours.css");

/// The page down to where its body begins, with what is needed beside the common style.
pub fn begin(title: &str, style: &str) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n");
    page.push_str("<meta charset=\"utf-8\" />\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n");
    page.push_str(&format!("<title>{}</title>\n<style>\n", escape(title)));
    page.push_str(COLOURS);
    page.push_str(include_str!("page.css"));
    page.push_str(style);
    page.push_str("</style>\n</head>\n<body>\n");
    page
}

/// The whole page.
pub fn end(mut page: String) -> String {
    page.push_str("</body>\n</html>\n");
    page
}

/// Text that cannot break the page.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// What is wrong with a page, read tag by tag: something is closed that is not open, or asked for from elsewhere.
pub fn find_fault(page: &str) -> Option<String> {
    let elsewhere = [
        "http:", "https:", "src=", "url(", "@import", "<script", "<link",
    ];
    // Within the page it may lead.
    if page.matches("href=").count() != page.matches("href=\"#").count() {
        return Some("it leads elsewhere".into());
    }
    if let Some(reference) = elsewhere.iter().find(|text| page.contains(**text)) {
        return Some(format!("{reference} is in it"));
    }
    let mut open = Vec::new();
    let Some(mut rest) = page.strip_prefix("<!DOCTYPE html>") else {
        return Some("it has no doctype".into());
    };
    while let Some((text, tag)) = rest.split_once('<') {
        if text.contains('>') {
            return Some(format!("a stray bracket in {text:?}"));
        }
        let Some((tag, after)) = tag.split_once('>') else {
            return Some(format!("<{tag} does not end"));
        };
        if tag.matches('"').count() % 2 != 0 {
            return Some(format!("quotes in <{tag}>"));
        }
        let name = tag.trim_start_matches('/').split_whitespace().next();
        if tag.starts_with('/') {
            if open.pop() != name {
                return Some(format!("<{tag}> closes what is not open"));
            }
        } else if !tag.ends_with('/') {
            open.extend(name);
        }
        rest = after;
    }
    open.pop().map(|tag| format!("<{tag}> is left open"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found() {
        let page = |body: &str| end(begin("<title>", "") + body);
        assert_eq!(find_fault(&page("<p>fine</p><br />")), None);
        for body in [
            "<p>",
            "</p>",
            "<p></q>",
            "1 > 0",
            "<a b=\">",
            "<img src=\"x\" />",
            "<a href=\"x\"></a>",
        ] {
            assert!(find_fault(&page(body)).is_some(), "{body}");
        }
    }
}
