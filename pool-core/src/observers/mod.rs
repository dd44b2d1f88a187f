//! Observers that come with the pool, each behind the cargo feature of its name: `tracing` writes a log, `metrics` keeps
//! counters, gauges and histograms for whatever exporter there is, and `histograms` measures waits by itself.
//!
//! A pool takes any number of them. They may only watch; one of your own implements [`Observer`](crate::Observer).
//!
//! # Examples
//!
//! A pool with all three:
//!
#![cfg_attr(
    all(feature = "tracing", feature = "metrics", feature = "histograms"),
    doc = "```"
)]
#![cfg_attr(
    not(all(feature = "tracing", feature = "metrics", feature = "histograms")),
    doc = "```ignore"
)]
//! # use pool_core::doc::Numbers;
//! use std::sync::Arc;
//! use pool_core::observers::{Histograms, MetricsObserver, TracingObserver};
//! use pool_core::{Config, Pool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.max_size = 4;
//! let times = Arc::new(Histograms::new());
//! let pool = Pool::builder(Numbers::default())
//!     .name("numbers")
//!     .observer(TracingObserver::new())
//!     .observer(MetricsObserver::new(&config))
//!     .observer(Arc::clone(&times))
//!     .config(config)
//!     .build()?;
//! drop(pool.checkout().await?);
//!
//! // wait     1 measured, mean 38 µs, p50 38 µs, p90 38 µs, p99 38 µs, p99.9 38 µs, max 38 µs
//! // hold     ...
//! println!("{}", times.snapshot());
//! assert_eq!(times.snapshot().hold.count, 1);
//! # Ok(()) }
//! ```

#[cfg(any(feature = "tracing", feature = "metrics"))]
mod convention;
#[cfg(feature = "histograms")]
mod histograms;
#[cfg(feature = "metrics")]
mod instruments;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "histograms")]
pub use self::histograms::{Histograms, Snapshot, Times};
#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;
