//! Tasks that all want connections of one pool, in a loop, until they are told to stop.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::clock::now;
use crate::contenders::{Contender, Question, fill};
use crate::rounds::{Clocked, Entrant, Slice};

/// A task that has not ended so long after all others have hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// On what tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Tokio's current-thread runtime.
    One,
    /// Tokio's multi-thread runtime with two workers.
    Two,
}

impl Threads {
    /// A runtime of its own.
    pub fn runtime(self) -> Rc<Runtime> {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(2).enable_all().build();
        Rc::new(runtime.expect("a runtime can be built"))
    }

    /// As a heading has it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::One => "a current-thread runtime",
            Self::Two => "2 workers",
        }
    }
}

/// So many tasks on so many connections; each yields once while it holds one.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many want connections.
    pub tasks: usize,
    /// How many connections there are.
    pub size: usize,
    /// On what they run.
    pub threads: Threads,
}

impl Crowd {
    /// As a heading has it.
    pub fn in_words(self) -> String {
        format!(
            "{} tasks, {} connections, {}",
            self.tasks,
            self.size,
            self.threads.in_words()
        )
    }
}

/// Asks a contender to serve the crowd on this runtime.
#[derive(Debug)]
pub struct Serve(pub Crowd, pub Rc<Runtime>);

impl Question for Serve {
    type Answer = Entrant;

    fn ask<C: Contender>(&self, name: &'static str, contender: C) -> Entrant {
        let (crowd, runtime) = (self.0, Rc::clone(&self.1));
        let contender = Arc::new(contender);
        runtime.block_on(fill(&*contender, crowd.size));
        Entrant::new(name, move |clocked, about| {
            runtime.block_on(async {
                let user = |stop| use_in_a_loop(Arc::clone(&contender), clocked, stop);
                let mut slice = gather(crowd.tasks, about, user).await;
                slice.lost = missing(&*contender, crowd.size).await;
                slice
            })
        })
    }
}

async fn use_in_a_loop<C: Contender>(
    contender: Arc<C>,
    clocked: Clocked,
    stop: Arc<AtomicBool>,
) -> User {
    let mut user = User::default();
    while !stop.load(Relaxed) {
        let start = (clocked == Clocked::EachCheckout).then(now);
        let mut guard = contender.checkout().await.expect("it can be had");
        user.waits.extend(start.map(|start| nanos(start.elapsed())));
        black_box(&mut *guard);
        yield_now().await;
        drop(guard);
        user.cycles += 1;
    }
    user
}

/// What one task did.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Checkouts that were served and checked in again.
    pub cycles: u64,
    /// Checkouts that were given up by intention.
    pub cancelled: u64,
    /// How long each checkout took, in nanoseconds, if that was clocked.
    pub waits: Vec<u64>,
}

/// Runs so many tasks, tells them to stop after `about`, and waits for all but those that hang.
///
/// # Cancellation
///
/// Ends the tasks.
pub async fn gather<F: Future<Output = User> + Send + 'static>(
    tasks: usize,
    about: Duration,
    user: impl Fn(Arc<AtomicBool>) -> F,
) -> Slice {
    let stop = Arc::new(AtomicBool::new(false));
    let start = now();
    let mut users = JoinSet::new();
    for _ in 0..tasks {
        users.spawn(user(Arc::clone(&stop)));
    }
    sleep(about).await;
    stop.store(true, Relaxed);
    let mut slice = Slice {
        took: start.elapsed(),
        ..Slice::default()
    };
    while let Ok(Some(ended)) = timeout(PATIENCE, users.join_next()).await {
        let user = ended.expect("no task panics");
        slice.took = start.elapsed();
        slice.cycles += user.cycles;
        slice.cancelled += user.cancelled;
        slice.shares.push(user.cycles);
        slice.waits.extend(user.waits);
    }
    slice.hung = users.len();
    users.shutdown().await;
    slice
}

/// How many of the pool's connections cannot be had any more.
///
/// # Cancellation
///
/// Gives back those it had.
pub async fn missing<C: Contender>(contender: &C, size: usize) -> usize {
    let mut held = Vec::with_capacity(size);
    for _ in 0..size {
        match timeout(PATIENCE, contender.checkout()).await {
            Ok(Ok(guard)) => held.push(guard),
            _ => break,
        }
    }
    size - held.len()
}

/// A duration in whole nanoseconds.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::{Floor, Memory};

    fn crowd(threads: Threads) -> Crowd {
        Crowd {
            tasks: 9,
            size: 2,
            threads,
        }
    }

    #[test]
    fn every_task_of_a_crowd_is_served_and_nothing_is_lost() {
        for threads in [Threads::One, Threads::Two] {
            let crowd = crowd(threads);
            let serve = Serve(crowd, threads.runtime());
            let mut entrant = serve.ask("floor", Floor::new(&Memory, crowd.size));
            let slice = entrant.work(Clocked::EachCheckout, Duration::from_millis(20));
            assert_eq!(slice.shares.len(), crowd.tasks);
            assert_eq!((slice.hung, slice.lost), (0, 0));
            assert_eq!(slice.waits.len() as u64, slice.cycles);
        }
    }

    #[test]
    fn a_task_that_waits_for_ever_is_counted_as_hung() {
        let runtime = Threads::One.runtime();
        // Its two connections are out for good.
        let slice = runtime.block_on(gather(3, Duration::from_millis(1), |_| {
            std::future::pending::<User>()
        }));
        assert_eq!(slice.hung, 3);
    }
}
