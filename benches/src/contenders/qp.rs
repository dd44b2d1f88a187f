//! qp, whose waiters may hang for ever: a wake that is stolen or dropped serves nobody.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use ::qp::resource::Manage;
use ::qp::{Pool, Pooled, async_trait};

use super::Contender;

/// Numbers, as qp wants them.
#[derive(Clone, Copy, Debug)]
pub struct Numbers;

#[async_trait]
impl Manage for Numbers {
    type Output = u64;
    type Error = Infallible;

    async fn try_create(&self) -> Result<u64, Infallible> {
        Ok(7)
    }
}

/// qp with its check, as by default.
#[derive(Clone)]
pub struct Qp(Pool<Numbers>);

impl Qp {
    /// Dials nothing yet.
    pub fn new(size: usize) -> Self {
        Self(Pool::new(Numbers, size))
    }
}

impl fmt::Debug for Qp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qp").field("idle", &self.0.size()).finish()
    }
}

impl Contender for Qp {
    type Connection = u64;
    type Guard<'a> = Pooled<'a, Numbers>;
    type Error = Infallible;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        self.0.acquire()
    }
}
