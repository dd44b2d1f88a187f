//! A connection pool.

mod builder;
mod checkout;
mod clock;
mod config;
#[doc(hidden)]
pub mod doc;
mod error;
mod manager;
mod pool;
mod pooled;
mod shared;
mod state;
mod status;
mod tasks;
mod watch;

pub use self::builder::Builder;
pub use self::checkout::{Checkout, CheckoutOwned};
pub use self::config::{Config, ConfigError, OnConnectError, Order};
pub use self::error::{
    BuildError, CheckoutError, CheckoutTimeout, ConnectError, ConnectFailure, TryCheckoutError,
};
pub use self::manager::{Dropped, Manager, Recycle};
pub use self::pool::Pool;
pub use self::pooled::{ConnectionInfo, OwnedPooled, Pooled};
pub use self::status::Status;
