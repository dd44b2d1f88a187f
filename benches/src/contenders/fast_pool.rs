//! fast_pool.

use std::future::Future;

use ::fast_pool::{ConnectionGuard, Manager, Pool};

use super::{Contender, Dialler};

/// A [`Dialler`] as fast_pool wants it.
#[derive(Clone, Debug)]
pub struct Taught<D>(D);

/// Why fast_pool has no connection, in its own words.
#[derive(Debug)]
#[allow(dead_code, reason = "it is read where it is printed")]
pub struct Told(String);

impl From<&str> for Told {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl<D: Dialler> Manager for Taught<D> {
    type Connection = D::Connection;
    type Error = Told;

    async fn connect(&self) -> Result<D::Connection, Told> {
        let dialled = self.0.dial().await;
        dialled.map_err(|error| Told(error.to_string()))
    }

    async fn check(&self, connection: &mut D::Connection) -> Result<(), Told> {
        match self.0.is_dropped(connection) {
            true => Err(Told("dropped by its peer".into())),
            false => Ok(()),
        }
    }
}

/// fast_pool at its defaults.
#[derive(Clone, Debug)]
pub struct FastPool<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> FastPool<D> {
    /// Dials nothing yet.
    pub fn new(dialler: &D, size: usize) -> Self {
        let pool = Pool::new(Taught(dialler.clone()));
        pool.set_max_open(size as u64);
        pool.set_max_idle_conns(size as u64);
        Self(pool)
    }
}

impl<D: Dialler> Contender for FastPool<D> {
    type Connection = D::Connection;
    type Guard<'a> = ConnectionGuard<Taught<D>>;
    type Error = Told;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.get()
    }
}
