//! Where a server is, as sentinels name it.

use std::fmt;

/// A host, which may be a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_as_it_is_dialled() {
        let node = |host: &str| Node {
            host: host.to_owned(),
            port: 6379,
        };
        assert_eq!(node("10.0.0.1").to_string(), "10.0.0.1:6379");
        assert_eq!(node("fd00::1").to_string(), "[fd00::1]:6379");
    }
}
