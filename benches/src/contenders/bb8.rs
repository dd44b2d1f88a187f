//! bb8.

use std::future::Future;
use std::io;
use std::time::Duration;

use ::bb8::{ManageConnection, Pool, PooledConnection, RunError};

use super::{Contender, Dialler};

/// A [`Dialler`] as bb8 wants it.
#[derive(Clone, Debug)]
pub struct Taught<D>(D);

impl<D: Dialler> ManageConnection for Taught<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<D::Connection> {
        self.0.dial().await
    }

    async fn is_valid(&self, connection: &mut D::Connection) -> io::Result<()> {
        match self.0.is_dropped(connection) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.is_dropped(connection)
    }
}

/// bb8 at its defaults, with or without its test at checkout.
#[derive(Clone, Debug)]
pub struct Bb8<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> Bb8<D> {
    /// Dials nothing yet.
    ///
    /// # Cancellation
    ///
    /// Makes no pool.
    pub async fn new(dialler: &D, size: usize, test: bool) -> Self {
        let size = u32::try_from(size).expect("a few");
        let pool = Pool::builder()
            .max_size(size)
            .test_on_check_out(test)
            .build(Taught(dialler.clone()));
        Self(pool.await.expect("nothing is dialled"))
    }

    /// At its defaults but for its size and the period of its reaper, which is 30 s by default.
    ///
    /// # Cancellation
    ///
    /// Makes no pool.
    pub async fn reaping_every(dialler: &D, size: usize, period: Duration) -> Self {
        let size = u32::try_from(size).expect("a few");
        let pool = Pool::builder()
            .max_size(size)
            .reaper_rate(period)
            .build(Taught(dialler.clone()));
        Self(pool.await.expect("nothing is dialled"))
    }
}

impl<D: Dialler> Contender for Bb8<D> {
    type Connection = D::Connection;
    type Guard<'a> = PooledConnection<'a, Taught<D>>;
    type Error = RunError<io::Error>;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.get()
    }
}
