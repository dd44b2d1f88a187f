//! Documentation only.
//!
//! - [`coming_from`]: for users of reqwest, and of urllib3 and requests.

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
