//! deadpool, which has no timeouts unless it is told.

use std::future::Future;
use std::io;
use std::time::Duration;

use ::deadpool::Runtime;
use ::deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts,
};

use super::{Contender, Dialler};

/// A [`Dialler`] as deadpool wants it.
#[derive(Clone, Debug)]
pub struct Taught<D>(D);

impl<D: Dialler> Manager for Taught<D> {
    type Type = D::Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<D::Connection> {
        self.0.dial().await
    }

    async fn recycle(
        &self,
        connection: &mut D::Connection,
        _: &Metrics,
    ) -> RecycleResult<io::Error> {
        match self.0.is_dropped(connection) {
            true => Err(RecycleError::Backend(io::ErrorKind::ConnectionReset.into())),
            false => Ok(()),
        }
    }
}

/// deadpool, with or without timeouts.
#[derive(Clone, Debug)]
pub struct Deadpool<D: Dialler>(Pool<Taught<D>>);

impl<D: Dialler> Deadpool<D> {
    /// At its defaults but for its size.
    pub fn new(dialler: &D, size: usize) -> Self {
        Self::with(dialler, size, Timeouts::new())
    }

    /// With 30 s for each of waiting, dialling and checking.
    pub fn timed(dialler: &D, size: usize) -> Self {
        let limit = Some(Duration::from_secs(30));
        let timeouts = Timeouts {
            wait: limit,
            create: limit,
            recycle: limit,
        };
        Self::with(dialler, size, timeouts)
    }

    fn with(dialler: &D, size: usize, timeouts: Timeouts) -> Self {
        let pool = Pool::builder(Taught(dialler.clone()))
            .max_size(size)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1);
        Self(pool.build().expect("it has a runtime"))
    }

    /// The pool itself, for what the others do not offer.
    pub fn pool(&self) -> &Pool<Taught<D>> {
        &self.0
    }
}

impl<D: Dialler> Contender for Deadpool<D> {
    type Connection = D::Connection;
    type Guard<'a> = Object<Taught<D>>;
    type Error = PoolError<io::Error>;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.get()
    }
}
