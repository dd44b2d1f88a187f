//! What an outage costs: dials while it lasts, and the time until everybody is served after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pool_tcp::TcpConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Habits, MESSAGE};
use super::dialled::Dialled;
use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{Contender, Question, everybody, fill};
use crate::findings::{Finding, Table};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "recovery",
    question: "What does an outage cost: dials while it lasts, and time until all are served again?",
    measure,
};

/// Who want connections, of which there are as many.
const USERS: usize = 20;

/// How long a user waits before he asks again for what failed.
const PAUSE: Duration = Duration::from_millis(50);

/// From the end of the outage on; who is not served then is believed to hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
struct Answer {
    name: &'static str,
    dials_in_outage: usize,
    dials_after: usize,
    /// Requests that failed, on a connection that was handed out.
    lost: usize,
    /// Checkouts that failed while there was no server.
    refused: usize,
    /// From the end of the outage until the first and the last user was served.
    served: Vec<Duration>,
}

/// A server that goes away and comes back.
struct Outage<'a> {
    runtime: &'a Runtime,
    address: SocketAddr,
    dialled: Dialled,
    lasts: Duration,
}

impl Question<TcpConnection> for Outage<'_> {
    type Answer = io::Result<Answer>;

    fn ask<C: Contender<Connection = TcpConnection>>(
        &self,
        name: &'static str,
        contender: C,
    ) -> io::Result<Answer> {
        let before = Backend::start_at(self.address, Habits::default())?;
        self.runtime.block_on(async {
            fill(&contender, USERS).await;
            drop(before);
            let dials = self.dialled.dials();
            let scene = Arc::new(Scene::new(contender));
            let mut users = JoinSet::new();
            for _ in 0..USERS {
                users.spawn(user(Arc::clone(&scene)));
            }
            sleep(self.lasts).await;
            let dials_in_outage = self.dialled.dials() - dials;
            scene.is_over.store(true, Relaxed);
            let end = now();
            let _after = Backend::start_at(self.address, Habits::default())?;
            let mut served = Vec::new();
            let all = async {
                while let Some(user) = users.join_next().await {
                    served.push(user.expect("no user panics").saturating_duration_since(end));
                }
            };
            let _ = timeout(PATIENCE, all).await;
            users.shutdown().await;
            served.sort_unstable();
            Ok(Answer {
                name,
                dials_in_outage,
                dials_after: self.dialled.dials() - dials - dials_in_outage,
                lost: scene.lost.load(Relaxed),
                refused: scene.refused.load(Relaxed),
                served,
            })
        })
    }
}

/// What all users share.
struct Scene<C> {
    contender: C,
    is_over: AtomicBool,
    lost: AtomicUsize,
    refused: AtomicUsize,
}

impl<C> Scene<C> {
    fn new(contender: C) -> Self {
        Self {
            contender,
            is_over: AtomicBool::new(false),
            lost: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }
}

/// Asks until the outage is over and he has been served; when that was.
async fn user<C: Contender<Connection = TcpConnection>>(scene: Arc<Scene<C>>) -> Instant {
    loop {
        match scene.contender.checkout().await {
            Ok(mut connection) => {
                let answer = request(&mut connection).await;
                if answer.is_ok() && scene.is_over.load(Relaxed) {
                    return now();
                }
                scene.lost.fetch_add(usize::from(answer.is_err()), Relaxed);
            }
            Err(_) => {
                scene.refused.fetch_add(1, Relaxed);
            }
        }
        sleep(PAUSE).await;
    }
}

async fn request(connection: &mut TcpConnection) -> io::Result<()> {
    connection.write_all(&MESSAGE).await?;
    connection.read_exact(&mut [0; MESSAGE.len()]).await?;
    Ok(())
}

fn measure(effort: &Effort) -> Finding {
    let lasts = Duration::from_millis(effort.pick(500, 3000));
    let answers = free_port().and_then(|address| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let outage = Outage {
            runtime: &runtime,
            address,
            dialled: Dialled::to(address),
            lasts,
        };
        everybody(&runtime, &outage.dialled, USERS, &outage)
            .into_iter()
            .collect()
    });
    match answers {
        Ok(answers) => finding(answers, lasts),
        Err(error) => Finding::not_measured(error),
    }
}

/// An address that was free a moment ago.
fn free_port() -> io::Result<SocketAddr> {
    Ok(Backend::start(Habits::default())?.address)
}

fn finding(answers: Vec<Answer>, lasts: Duration) -> Finding {
    let mut table = Table::new(
        format!("An outage of {} s", lasts.as_secs_f64()),
        &[
            "pool",
            "dials in the outage",
            "dials after it",
            "failed checkouts",
            "failed requests",
            "first served after, ms",
            "last, ms",
            "never served",
        ],
    );
    for answer in answers {
        let millis = |after: Option<&Duration>| {
            after.map_or("-".into(), |after| {
                format!("{:.0}", after.as_secs_f64() * 1e3)
            })
        };
        table.row([
            answer.name.into(),
            answer.dials_in_outage.to_string(),
            answer.dials_after.to_string(),
            answer.refused.to_string(),
            answer.lost.to_string(),
            millis(answer.served.first()),
            millis(answer.served.last()),
            (USERS - answer.served.len()).to_string(),
        ]);
    }
    Finding {
        seen: "This pool makes one attempt a pause, for all who wait, and its pause doubles up to 5 s (`backoff_most`) while the \
               outage lasts: few dials, and the rest of the last pause is what recovery takes. Pools that dial for each caller make \
               an attempt a call, and are back with the first call after the outage. FLOOR never looks at what it hands out, and \
               never recovers."
            .into(),
        method: vec![
            format!(
                "{USERS} users of a pool of {USERS} connections over loopback TCP; the server goes with all its connections, and comes \
                 back at the same address after {} s. A user whose checkout or request failed asks again after {} ms.",
                lasts.as_secs_f64(),
                PAUSE.as_millis()
            ),
            "Dials are counted by who dials, from the moment the server is gone. Each pool has an outage of its own; one round.".into(),
        ],
        tables: vec![table],
        ..Finding::default()
    }
}
