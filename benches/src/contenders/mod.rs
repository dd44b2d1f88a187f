//! Every pool that is compared, behind one small trait, and the cheapest things that could be called a pool.
//!
//! A pool is taught a kind of connection by a [`Dialler`]; [`everybody`] asks one [`Question`] of each of them. All are at
//! their defaults but for their size, unless their name says otherwise.

mod bb8;
mod deadpool;
mod fast_pool;
mod floors;
mod mobc;
mod ours;
mod qp;
mod r2d2;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::DerefMut;
use std::task::{Context, Poll};
use std::time::Duration;

use pool_core::{Dropped, Order};
use tokio::runtime::Runtime;

pub use self::bb8::Bb8;
pub use self::deadpool::Deadpool;
pub use self::fast_pool::FastPool;
pub use self::floors::{Floor, Nothing, Stack};
pub use self::mobc::Mobc;
pub use self::ours::{Borrowed, Owned};
pub use self::qp::Qp;
pub use self::r2d2::R2d2;

/// A kind of connection, as every pool is taught it.
pub trait Dialler: Clone + Send + Sync + 'static {
    /// What is pooled.
    type Connection: Debug + Send + Unpin + 'static;

    /// Makes a connection.
    ///
    /// # Cancellation
    ///
    /// Pools drop it when they lose their patience.
    fn dial(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;

    /// Whether the peer has gone, without a round trip: all that any pool's check at checkout asks.
    fn is_dropped(&self, connection: &mut Self::Connection) -> bool;

    /// The same as an event, which only our pool knows how to wait for.
    fn poll_dropped(
        &self,
        connection: &mut Self::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        let _ = cx;
        match self.is_dropped(connection) {
            true => Poll::Ready(Dropped::Closed),
            false => Poll::Pending,
        }
    }
}

/// Connections that are numbers: dialled at once, and never dropped.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl Dialler for Memory {
    type Connection = u64;

    async fn dial(&self) -> io::Result<u64> {
        Ok(7)
    }

    fn is_dropped(&self, _: &mut u64) -> bool {
        false
    }
}

/// One of those that are compared.
pub trait Contender: Send + Sync + 'static {
    /// What is pooled.
    type Connection;

    /// A connection out of the pool; dropped, it goes back.
    type Guard<'a>: DerefMut<Target = Self::Connection> + Send
    where
        Self: 'a;

    /// Why there is no connection.
    type Error: Debug + Send;

    /// The pool's own future, with nothing around it.
    ///
    /// # Cancellation
    ///
    /// Whatever the pool makes of it.
    fn checkout(&self) -> impl Future<Output = Result<Self::Guard<'_>, Self::Error>> + Send;
}

/// What is asked of each contender that pools connections of type `T`.
pub trait Question<T = u64> {
    /// What is kept of one.
    type Answer;

    /// Asks it of a contender that has yet to dial.
    fn ask<C: Contender<Connection = T>>(&self, name: &'static str, contender: C) -> Self::Answer;
}

/// The name of the pool that the targets are about: borrowed guard, LIFO, all else at its default.
pub const OURS: &str = "ours";

/// The name of [`Owned`], which pays for reference counts.
pub const OURS_OWNED: &str = "ours, owned guard";

/// The name of [`Floor`], the yardstick.
pub const FLOOR: &str = "FLOOR: fair semaphore + mutex";

/// The name of [`Nothing`], which is no pool.
pub const NOTHING: &str = "no pool";

/// The name of deadpool as it comes.
pub const DEADPOOL: &str = "deadpool";

/// The name of bb8 as it comes.
pub const BB8: &str = "bb8";

/// Asks `question` of every asynchronous pool whose waiters do not hang, each with at most `size` connections.
///
/// The yardstick comes first, then ours, then the rivals.
pub fn everybody<D: Dialler, Q: Question<D::Connection>>(
    runtime: &Runtime,
    dialler: &D,
    size: usize,
    question: &Q,
) -> Vec<Q::Answer> {
    // Some spawn tasks of their own when they are made.
    let _entered = runtime.enter();
    let order = |order| Borrowed::new(dialler, size, order);
    let mobc = |timeout| Mobc::new(dialler, size, timeout);
    let bb8 = |test| runtime.block_on(Bb8::new(dialler, size, test));
    vec![
        question.ask(FLOOR, Floor::new(dialler, size)),
        question.ask(OURS, order(Order::Lifo)),
        question.ask("ours, FIFO", order(Order::Fifo)),
        question.ask(OURS_OWNED, Owned::new(dialler, size)),
        question.ask(DEADPOOL, Deadpool::new(dialler, size)),
        question.ask("deadpool, 30 s timeouts", Deadpool::timed(dialler, size)),
        question.ask(BB8, bb8(true)),
        question.ask("bb8, no test", bb8(false)),
        question.ask("fast_pool", FastPool::new(dialler, size)),
        question.ask("mobc", mobc(Some(Duration::from_secs(30)))),
        question.ask("mobc, no timeout", mobc(None)),
    ]
}

/// As [`everybody`], and those that make sense only while nobody has to wait: a mutex around a stack, no pool at all, r2d2,
/// which would block the thread, and qp, whose waiters may hang for ever.
pub fn everybody_alone<Q: Question>(
    runtime: &Runtime,
    size: usize,
    question: &Q,
) -> Vec<Q::Answer> {
    let mut answers = everybody(runtime, &Memory, size, question);
    let _entered = runtime.enter();
    answers.extend([
        question.ask("floor: mutex, pop + push", Stack::new(size)),
        question.ask(NOTHING, Nothing),
        question.ask("r2d2 (blocking)", R2d2::new(size)),
        question.ask("qp (its waiters hang)", Qp::new(size)),
    ]);
    answers
}

/// Has the contender dial `size` connections, all of which are idle afterwards.
///
/// # Panics
///
/// When one cannot be had.
///
/// # Cancellation
///
/// Leaves it with fewer.
pub async fn fill<C: Contender>(contender: &C, size: usize) {
    let mut held = Vec::with_capacity(size);
    for _ in 0..size {
        held.push(contender.checkout().await.expect("it can dial"));
    }
    drop(held);
    // Some put connections back in tasks of their own.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all of its connections can be out at once, and then again.
    struct Lends<'a>(&'a Runtime);

    impl Question for Lends<'_> {
        type Answer = &'static str;

        fn ask<C: Contender>(&self, name: &'static str, contender: C) -> &'static str {
            self.0.block_on(async {
                fill(&contender, 5).await;
                fill(&contender, 5).await;
            });
            name
        }
    }

    #[test]
    fn every_contender_lends_all_its_connections_again_and_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let names = everybody_alone(&runtime, 5, &Lends(&runtime));
        assert_eq!(names.len(), 15);
    }
}
