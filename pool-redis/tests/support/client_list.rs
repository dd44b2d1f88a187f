//! `CLIENT LIST`: what the server knows of those who are connected.

use std::collections::HashMap;

/// One who is connected.
#[derive(Clone, Debug)]
pub(crate) struct Client(HashMap<String, String>);

impl Client {
    /// Reads the answer to `CLIENT LIST`.
    pub(crate) fn list(text: &str) -> Vec<Self> {
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let fields = line.split(' ').filter_map(|field| field.split_once('='));
                Self(
                    fields
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                )
            })
            .collect()
    }

    /// What the server says under this name, such as `db`; an older server may not know all of them.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Its number, which no other client of this server has had before.
    pub(crate) fn id(&self) -> i64 {
        let id = self.field("id").and_then(|id| id.parse().ok());
        id.expect("every client has a number")
    }
}
