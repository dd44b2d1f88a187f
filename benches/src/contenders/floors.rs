//! The cheapest things that could be called a pool: what they leave out, nobody can do without.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Contender, Dialler};

/// FLOOR: tokio's fair semaphore and a mutex around a stack. No check, no deadline, no limit of age, no statistics.
pub struct Floor<D: Dialler> {
    dialler: D,
    turns: Semaphore,
    idle: Mutex<Vec<D::Connection>>,
}

impl<D: Dialler> Floor<D> {
    /// Dials nothing yet.
    pub fn new(dialler: &D, size: usize) -> Self {
        Self {
            dialler: dialler.clone(),
            turns: Semaphore::new(size),
            idle: Mutex::new(Vec::with_capacity(size)),
        }
    }
}

impl<D: Dialler> fmt::Debug for Floor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Floor").finish_non_exhaustive()
    }
}

/// A connection of [`Floor`].
#[derive(Debug)]
pub struct FloorGuard<'a, D: Dialler> {
    floor: &'a Floor<D>,
    connection: Option<D::Connection>,
    // Dropped after the connection has been put back, so that whose turn it is finds it.
    _turn: SemaphorePermit<'a>,
}

impl<D: Dialler> Contender for Floor<D> {
    type Connection = D::Connection;
    type Guard<'a> = FloorGuard<'a, D>;
    type Error = io::Error;

    #[inline]
    async fn checkout(&self) -> io::Result<FloorGuard<'_, D>> {
        let turn = self.turns.acquire().await.expect("it is never closed");
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.dialler.dial().await?,
        };
        Ok(FloorGuard {
            floor: self,
            connection: Some(connection),
            _turn: turn,
        })
    }
}

impl<D: Dialler> Drop for FloorGuard<'_, D> {
    #[inline]
    fn drop(&mut self) {
        let connection = self.connection.take();
        self.floor.idle.lock().extend(connection);
    }
}

impl<D: Dialler> Deref for FloorGuard<'_, D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_ref().expect("taken by Drop alone")
    }
}

impl<D: Dialler> DerefMut for FloorGuard<'_, D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_mut().expect("taken by Drop alone")
    }
}

/// A mutex around a stack, for those who never have to wait.
#[derive(Debug)]
pub struct Stack(Mutex<Vec<u64>>);

impl Stack {
    /// So many numbers.
    pub fn new(size: usize) -> Self {
        Self(Mutex::new(vec![7; size]))
    }
}

/// A number of [`Stack`].
#[derive(Debug)]
pub struct StackGuard<'a> {
    stack: &'a Stack,
    number: u64,
}

impl Contender for Stack {
    type Connection = u64;
    type Guard<'a> = StackGuard<'a>;
    type Error = Infallible;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<StackGuard<'_>, Infallible>> + Send {
        let number = self.0.lock().pop().expect("nobody has to wait");
        ready(Ok(StackGuard {
            stack: self,
            number,
        }))
    }
}

impl Drop for StackGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.stack.0.lock().push(self.number);
    }
}

impl Deref for StackGuard<'_> {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.number
    }
}

impl DerefMut for StackGuard<'_> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.number
    }
}

/// No pool at all: what its users cost by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

/// What [`Nothing`] lends.
#[derive(Debug)]
pub struct NothingGuard(u64);

impl Contender for Nothing {
    type Connection = u64;
    type Guard<'a> = NothingGuard;
    type Error = Infallible;

    #[inline]
    fn checkout(&self) -> impl Future<Output = Result<NothingGuard, Infallible>> + Send {
        ready(Ok(NothingGuard(7)))
    }
}

impl Deref for NothingGuard {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}

impl DerefMut for NothingGuard {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.0
    }
}
