//! mobc.

use std::future::Future;
use std::io;
use std::time::Duration;

use ::mobc::{Connection, Error, Manager, Pool, async_trait};

use super::{Contender, Dialler};

/// A [`Dialler`] as mobc wants it.
#[derive(Clone, Debug)]
pub struct Taught<D>(D);

#[async_trait]
impl<D: Dialler> Manager for Taught<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<D::Connection> {
        self.0.dial().await
    }

    async fn check(&self, mut connection: D::Connection) -> io::Result<D::Connection> {
        match self.0.is_dropped(&mut connection) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(connection),
        }
    }

    fn validate(&self, connection: &mut D::Connection) -> bool {
        !self.0.is_dropped(connection)
    }
}

/// mobc, with or without its timeout of 30 s; allowed to keep as many idle connections as it may open: by default it
/// keeps 2.
#[derive(Clone, Debug)]
pub struct Mobc<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> Mobc<D> {
    /// Dials nothing yet.
    pub fn new(dialler: &D, size: usize, timeout: Option<Duration>) -> Self {
        let pool = Pool::builder()
            .max_open(size as u64)
            .max_idle(size as u64)
            .get_timeout(timeout)
            .build(Taught(dialler.clone()));
        Self(pool)
    }
}

impl<D: Dialler> Contender for Mobc<D> {
    type Connection = D::Connection;
    type Guard<'a> = Connection<Taught<D>>;
    type Error = Error<io::Error>;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.get()
    }
}
