//! How the pool works and why it is as it is; documentation only.
//!
//! - [`design`]: the promises, the parts, and the decisions that measurements changed;
//! - [`defaults`]: why each default is what it is;
//! - [`writing_a_manager`]: a pool for a protocol of your own;
//! - [`features`]: what this pool has, beside others, and what it leaves out;
//! - [`lessons`]: what went wrong in other pools, and the test that keeps it out of this one.

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("writing_a_manager.md")]
#[cfg_attr(
    feature = "testkit",
    doc = "\nAll rules, and why each is one: [`testkit::conformance`](crate::testkit::conformance::Rule)."
)]
pub mod writing_a_manager {}

#[doc = include_str!("features.md")]
pub mod features {}

#[doc = include_str!("lessons.md")]
pub mod lessons {}
