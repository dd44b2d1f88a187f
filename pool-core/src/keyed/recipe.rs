//! How a key's pool is made.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::builder::Builder;
use crate::config::{Config, ConfigError};
use crate::event::Observer;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::total::{Member, OnFull};

type Make<K, M> = dyn Fn(&K) -> M + Send + Sync;
type Each<K, M> = dyn Fn(&K, Builder<M>) -> Builder<M> + Send + Sync;

pub(super) struct Recipe<K, M: Manager> {
    pub(super) make: Box<Make<K, M>>,
    pub(super) each: Option<Box<Each<K, M>>>,
    pub(super) config: Config,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) on_full: OnFull,
}

impl<K, M: Manager> Recipe<K, M> {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.config.validate()?;
        self.on_full.fill(self.config.clone()).validate()
    }

    /// A pool for this key, not maintained yet.
    #[track_caller]
    pub(super) fn pool(&self, key: &K, runtime: &Handle, member: Member<M>) -> Pool<M> {
        let mut builder = Builder::new((self.make)(key)).config(self.config.clone());
        for observer in &self.observers {
            builder = builder.observer(Arc::clone(observer));
        }
        if let Some(each) = &self.each {
            builder = each(key, builder);
        }
        let parts = builder.runtime(runtime.clone()).parts();
        let mut parts = match parts {
            Ok(parts) => parts,
            Err(error) => panic!("the pool of a key makes no sense: {error}"),
        };
        parts.config = self.on_full.fill(parts.config);
        parts.member = Some(member);
        Pool::unstarted(parts)
    }
}

impl<K, M: Manager> fmt::Debug for Recipe<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe")
            .field("config", &self.config)
            .field("on_full", &self.on_full)
            .finish_non_exhaustive()
    }
}
