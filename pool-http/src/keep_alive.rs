//! What a server says about how long it keeps a connection: `Keep-Alive: timeout=5, max=100`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What was said, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    /// For so long the server waits for the next request.
    pub(crate) timeout: Option<Duration>,
    /// So many requests it takes on this connection from now on.
    pub(crate) max: Option<u64>,
}

impl KeepAlive {
    /// What is malformed was not said.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        for value in headers.get_all(KEEP_ALIVE) {
            let Ok(text) = value.to_str() else {
                continue;
            };
            for parameter in text.split(',') {
                let Some((name, value)) = parameter.split_once('=') else {
                    continue;
                };
                let (name, value) = (name.trim(), value.trim().trim_matches('"'));
                if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    continue;
                }
                if name.eq_ignore_ascii_case("timeout") {
                    said.timeout = value.parse().ok().map(Duration::from_secs);
                } else if name.eq_ignore_ascii_case("max") {
                    said.max = value.parse().ok();
                }
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[&str]) -> KeepAlive {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("keep-alive", value.parse().unwrap());
        }
        KeepAlive::of(&headers)
    }

    #[test]
    fn both_hints_are_read_in_any_form_that_servers_write() {
        let five = Some(Duration::from_secs(5));
        let both = KeepAlive {
            timeout: five,
            max: Some(100),
        };
        assert_eq!(said(&["timeout=5, max=100"]), both);
        assert_eq!(said(&["max=100", "Timeout = 5"]), both);
        assert_eq!(said(&["timeout=\"5\",max=100,x=y"]), both);
        assert_eq!(said(&["timeout=5"]).max, None);
    }

    #[test]
    fn what_is_malformed_was_not_said() {
        for value in [
            "",
            "timeout",
            "timeout=",
            "timeout=-1",
            "timeout=5s",
            "timeout=+5",
            "5",
            "timeout=99999999999999999999999",
        ] {
            assert_eq!(said(&[value]), KeepAlive::default(), "{value}");
        }
    }
}
