//! r2d2, which blocks the thread of a caller who has to wait.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};

use ::r2d2::{Error, ManageConnection, Pool, PooledConnection};

use super::Contender;

/// Numbers, as r2d2 wants them.
#[derive(Clone, Copy, Debug)]
pub struct Numbers;

impl ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self) -> Result<u64, Infallible> {
        Ok(7)
    }

    fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

/// r2d2 at its defaults.
#[derive(Clone)]
pub struct R2d2(Pool<Numbers>);

impl R2d2 {
    /// Dials all of them at once.
    pub fn new(size: usize) -> Self {
        let size = u32::try_from(size).expect("a few");
        let pool = Pool::builder().max_size(size).build(Numbers);
        Self(pool.expect("a number can always be had"))
    }
}

impl fmt::Debug for R2d2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("R2d2").field(&self.0.state()).finish()
    }
}

impl Contender for R2d2 {
    type Connection = u64;
    type Guard<'a> = PooledConnection<Numbers>;
    type Error = Error;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send {
        ready(self.0.get())
    }
}
