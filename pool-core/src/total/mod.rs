//! One total over many pools: who may dial next, and who gives way for that.
//!
//! ```text
//!   KeyedPool ──► keys ────────► a Pool for each key        who is there: keyed/keys.rs
//!                                  │ tells its Member what it has and wants,
//!                                  │ asks before it dials, and gives way
//!                                  ▼
//!                 ledger ──────► budget                     who is next: total/budget.rs
//! ```
//!
//! The hot path of a key's pool is that of any pool: neither the total nor another key is asked when an idle connection
//! goes out, and when one comes home a flag is read that says whether somebody elsewhere has none.

mod budget;
mod ledger;
mod limits;

#[cfg(all(test, pool_loom))]
mod loom;
#[cfg(test)]
mod tests;

pub(crate) use self::budget::KeyId;
pub(crate) use self::ledger::{Home, Ledger, Member, News};
pub(crate) use self::limits::Limits;
pub use self::limits::OnFull;
