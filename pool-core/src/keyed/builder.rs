//! How a keyed pool is made: what each key's pool is told, and what they have in common.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::KeyedPool;
use super::keys::Keys;
use super::recipe::Recipe;
use crate::builder::Builder;
use crate::clock;
use crate::config::Config;
use crate::error::BuildError;
use crate::event::Observer;
use crate::manager::Manager;
use crate::total::{Limits, OnFull};

/// Sets up a [`KeyedPool`]; every setting has a default.
///
/// # Examples
///
/// ```
/// # use pool_core::doc::Numbers;
/// use pool_core::KeyedPool;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = KeyedPool::builder(|_host: &String| Numbers::default())
///     .max_size(4)
///     .max_total(200)
///     .max_keys(50)
///     .each(|host, pool| pool.name(host).idle_timeout(Duration::from_secs(30)))
///     .build()?;
/// # drop(pool);
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct KeyedBuilder<K, M: Manager> {
    recipe: Recipe<K, M>,
    limits: Limits,
    runtime: Option<Handle>,
}

impl<K, M> KeyedBuilder<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    pub(super) fn new(make: impl Fn(&K) -> M + Send + Sync + 'static) -> Self {
        Self {
            recipe: Recipe {
                make: Box::new(make),
                each: None,
                config: Config::default(),
                observers: Vec::new(),
                on_full: OnFull::Wait,
            },
            limits: Limits::default(),
            runtime: None,
        }
    }

    /// Sets [`Config::max_size`] of every key: the most connections one key may have.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).max_size(3).build()?;
    /// let connection = pool.checkout(&"one.example").await?;
    /// assert_eq!(pool.status_of(&"one.example").unwrap().max_size, 3);
    /// # Ok(()) }
    /// ```
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.recipe.config.max_size = max_size;
        self
    }

    /// Sets all numbers of every key's pool at once, `max_size` included.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// let mut config = pool_core::Config::default();
    /// config.max_size = 0;
    /// let builder = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).config(config);
    /// assert!(builder.build().unwrap_err().to_string().starts_with("max_size is 0"));
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.recipe.config = config;
        self
    }

    /// Adapts the pool of each key when it is made: a name for its observers, other numbers, checks and hooks.
    ///
    /// The builder has what was set here for all keys. Whatever runtime it is given is not used.
    ///
    /// # Panics
    ///
    /// A checkout panics if this makes a pool that makes no sense.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default())
    ///     .each(|&host, pool| match host {
    ///         "slow.example" => pool.name(host).max_size(1),
    ///         _ => pool.name(host),
    ///     })
    ///     .build()?;
    /// let guards = (pool.checkout(&"slow.example").await?, pool.checkout(&"fast.example").await?);
    /// assert_eq!(pool.status_of(&"slow.example").unwrap().max_size, 1);
    /// assert_eq!(pool.status_of(&"fast.example").unwrap().max_size, 10);
    /// # Ok(()) }
    /// ```
    pub fn each(
        mut self,
        adapt: impl Fn(&K, Builder<M>) -> Builder<M> + Send + Sync + 'static,
    ) -> Self {
        self.recipe.each = Some(Box::new(adapt));
        self
    }

    /// Has an observer told of everything that happens, in the pool of any key.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// use std::sync::{Arc, Mutex};
    /// use pool_core::{Event, KeyedPool, Observer};
    ///
    /// #[derive(Default)]
    /// struct Dials(Mutex<Vec<String>>);
    ///
    /// impl Observer for Dials {
    ///     fn observe(&self, pool: &str, event: &Event) {
    ///         if let Event::Connecting { .. } = event {
    ///             self.0.lock().unwrap().push(pool.to_owned());
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let dials = Arc::new(Dials::default());
    /// let pool = KeyedPool::builder(|_: &&str| Numbers::default())
    ///     .each(|&host, pool| pool.name(host))
    ///     .observer(Arc::clone(&dials))
    ///     .build()?;
    /// drop(pool.checkout(&"one.example").await?);
    /// assert_eq!(*dials.0.lock().unwrap(), ["one.example"]);
    /// # Ok(()) }
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.recipe.observers.push(Arc::new(observer));
        self
    }

    /// Sets the most connections that all keys together may have at any instant. Default 100; `None` for no such limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).max_total(1).build()?;
    /// let held = pool.checkout(&"one.example").await?;
    /// assert!(pool.checkout(&"two.example").timeout(std::time::Duration::ZERO).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn max_total(mut self, max_total: impl Into<Option<usize>>) -> Self {
        self.limits.max_total = max_total.into();
        self
    }

    /// Sets the most keys whose connections are kept idle. Default no such limit.
    ///
    /// When one more is used, the key that was used least recently gives way: what is idle of it is closed, and what is
    /// in use when it comes home, unless a caller of the same key waits for it. Using that key again makes it one of those
    /// whose connections are kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).max_keys(1).build()?;
    /// drop(pool.checkout(&"one.example").await?);
    /// drop(pool.checkout(&"two.example").await?);
    /// assert_eq!(pool.keys(), ["two.example"]);
    /// # Ok(()) }
    /// ```
    pub fn max_keys(mut self, max_keys: impl Into<Option<usize>>) -> Self {
        self.limits.max_keys = max_keys.into();
        self
    }

    /// Sets what becomes of a caller for whom there is no room, in his key or over all keys. Default [`OnFull::Wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// use pool_core::{KeyedPool, OnFull};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = KeyedPool::builder(|_: &&str| Numbers::default())
    ///     .max_size(1)
    ///     .on_full(OnFull::Overflow)
    ///     .build()?;
    /// let guards = (pool.checkout(&"one.example").await?, pool.checkout(&"one.example").await?);
    /// drop(guards);
    /// assert_eq!(pool.status().idle, 1);
    /// # Ok(()) }
    /// ```
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.limits.on_full = on_full;
        self.recipe.on_full = on_full;
        self
    }

    /// Sets what the adapter of Python's `requests` calls `pool_connections`, `pool_maxsize` and `pool_block`; its defaults
    /// are 10, 10 and `false`.
    ///
    /// The connections of so many hosts are kept ([`max_keys`](Self::max_keys)), so many of each
    /// ([`max_size`](Self::max_size)), with no limit over all; who finds none either waits ([`OnFull::Wait`]) or is given
    /// one that is not kept ([`OnFull::Overflow`]).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default())
    ///     .like_requests(10, 1, false)
    ///     .build()?;
    /// let guards = (pool.checkout(&"one.example").await?, pool.checkout(&"one.example").await?);
    /// drop(guards);
    /// assert_eq!(pool.status().to_string(), "0 in use, 1 idle, 0 connecting, 0 waiting, over 1 key");
    /// # Ok(()) }
    /// ```
    pub fn like_requests(
        self,
        pool_connections: usize,
        pool_maxsize: usize,
        pool_block: bool,
    ) -> Self {
        self.max_keys(pool_connections)
            .max_size(pool_maxsize)
            .max_total(None)
            .on_full(match pool_block {
                true => OnFull::Wait,
                false => OnFull::Overflow,
            })
    }

    /// Sets the runtime on which all dial; by default the one in which the pool is built.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// let runtime = tokio::runtime::Runtime::new().unwrap();
    /// let pool = pool_core::KeyedPool::builder(|_: &&str| Numbers::default())
    ///     .runtime(runtime.handle().clone())
    ///     .build()
    ///     .unwrap();
    /// assert_eq!(*futures::executor::block_on(pool.checkout(&"one.example")).unwrap(), 1);
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Checks the settings and makes the pool. No key is made yet.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] names the setting that makes no sense; [`BuildError::NoRuntime`] if this is called outside a
    /// tokio runtime and none was given.
    ///
    /// # Panics
    ///
    /// If the runtime was built without timers, as every limit needs one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::doc::Numbers;
    /// let builder = pool_core::KeyedPool::builder(|_: &&str| Numbers::default()).max_keys(0);
    /// assert!(builder.build().unwrap_err().to_string().starts_with("max_keys is 0"));
    /// ```
    pub fn build(self) -> Result<KeyedPool<K, M>, BuildError> {
        self.recipe.validate()?;
        self.limits.validate()?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::try_current().map_err(|_| BuildError::NoRuntime)?,
        };
        clock::assert_timers(&runtime);
        Ok(KeyedPool {
            keys: Keys::new(self.recipe, self.limits, runtime),
        })
    }
}

impl<K, M: Manager> fmt::Debug for KeyedBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("recipe", &self.recipe)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
