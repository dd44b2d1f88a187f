//! What all keys have in common: how many connections, how many keys, and what happens when there is no room.

use crate::config::{Config, ConfigError, MOST_SLOTS};

/// What becomes of a caller for whom there is no room: his key has as many connections as it may, or all keys together
/// have, and none of them is idle.
///
/// # Examples
///
/// ```
/// use pool_core::{KeyedPool, OnFull, TryCheckoutError};
/// # use pool_core::doc::Numbers;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = KeyedPool::builder(|_host: &&str| Numbers::default())
///     .max_total(1)
///     .on_full(OnFull::Fail)
///     .build()?;
/// let held = pool.checkout(&"one.example").await?;
/// let error = pool.checkout(&"two.example").await.unwrap_err();
/// assert!(error.to_string().ends_with("1 of 1 over all keys): see max_waiters"));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFull {
    /// He waits until his deadline.
    #[default]
    Wait,
    /// He is told at once ([`CheckoutError::TooManyWaiters`](crate::CheckoutError::TooManyWaiters)).
    Fail,
    /// A connection is dialled for him all the same, and closed instead of kept when it comes home and is still one too
    /// many. A key's `max_size` then bounds what is kept idle, as does `max_total` over all keys.
    Overflow,
}

impl OnFull {
    /// What a key's pool has to be told so that a caller for whom it has no room fares as was chosen.
    pub(crate) fn fill(self, mut config: Config) -> Config {
        match self {
            Self::Wait => {}
            Self::Fail => config.max_waiters = Some(0),
            Self::Overflow => {
                let kept = config.max_idle.unwrap_or(usize::MAX).min(config.max_size);
                config.max_idle = Some(kept);
                config.max_size = MOST_SLOTS;
            }
        }
        config
    }
}

/// What the keys share; see the methods of [`KeyedBuilder`](crate::KeyedBuilder).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_total: Option<usize>,
    pub(crate) max_keys: Option<usize>,
    pub(crate) on_full: OnFull,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_total: Some(100),
            max_keys: None,
            on_full: OnFull::Wait,
        }
    }
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (field, limit) in [("max_total", self.max_total), ("max_keys", self.max_keys)] {
            if limit == Some(0) {
                return Err(ConfigError::new(
                    field,
                    format!(
                        "{field} is 0, so no checkout could ever succeed: set it to at least 1 or to None"
                    ),
                ));
            }
        }
        Ok(())
    }
}
