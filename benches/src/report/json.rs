//! The report for machines. `README.md` documents its names; they only change together with `schema`.

use std::io;

use super::Report;

/// The number that changes when a name of the report changes its meaning or goes away.
pub(crate) const SCHEMA: u32 = 1;

/// The text of `report.json`.
pub(super) fn render(report: &Report) -> io::Result<String> {
    let mut text = serde_json::to_string(report)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::synthetic;

    #[test]
    fn the_stable_names_are_all_there() {
        let text = render(&synthetic()).expect("serializable");
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["schema"], 1);
        let story = &report["stories"][0];
        assert_eq!(story["name"], "burst-on-a-stack");
        for policy in story["policies"].as_array().expect("a list") {
            for name in [
                "order",
                "policy",
                "close_wait_max",
                "close_wait_at_end",
                "close_wait_socket_seconds",
                "open_at_end",
                "dialled",
                "dead_handed_out",
                "fin_to_close_ms",
                "idle_cpu_ms",
                "told",
                "series",
            ] {
                assert!(policy.get(name).is_some(), "{name} is missing");
            }
        }
        let point = &story["policies"][0]["series"][21];
        assert_eq!(
            (&point["t_ms"], &point["close_wait"]),
            (&840.into(), &49.into())
        );
        assert!(story["policies"][1]["fin_to_close_ms"].is_null());
    }
}
