//! Documentation only.
//!
//! - [`coming_from`]: for users of bb8-redis and deadpool-redis.

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
