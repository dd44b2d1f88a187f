//! Everything that runs by itself: dials, the maintenance of idle connections, resets.

pub(crate) mod connect;
pub(crate) mod maintain;
pub(crate) mod reset;
