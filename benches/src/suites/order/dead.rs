//! *Dead connections*: who meets those that the server has closed.

use std::io;
use std::time::Duration;

use pool_core::Order;

use super::client::{Backends, Policy, burst, order_name, trickle};
use super::{Answer, Effort, client_runtime, millis, percentile, together};
use crate::findings::Table;
use crate::suites::backend::{Backend, Habits};

/// Callers of each burst.
const SIZE: usize = 50;

/// What a new connection costs before it can be used.
const HANDSHAKE: Duration = Duration::from_millis(20);

/// What is done about connections that the server closes.
#[derive(Clone, Copy, Debug)]
enum Care {
    /// Each is looked at when it is checked out.
    Looked,
    /// As before, and reaped before the server would close it.
    ReapedFirst,
    /// Each is watched while it is idle.
    Watched,
}

impl Care {
    fn in_words(self) -> &'static str {
        match self {
            Self::Looked => "looked at when checked out",
            Self::ReapedFirst => "that, and idle_timeout below the server's",
            Self::Watched => "watched (the default)",
        }
    }
}

/// A burst, one request at a time, a burst again, while the server closes what is idle. All at once.
pub(super) fn dead(effort: &Effort) -> io::Result<Answer> {
    let patience = Duration::from_millis(effort.pick(200, 500));
    let mut lives = Vec::new();
    for order in [Order::Lifo, Order::Fifo] {
        for care in [Care::Looked, Care::ReapedFirst, Care::Watched] {
            lives.push(live(order, care, patience));
        }
    }
    let mut table = Table::new(
        "Dead connections",
        &[
            "order, care",
            "in CLOSE_WAIT",
            "met dead",
            "met dead in the second burst",
            "requests lost",
            "the last of the burst, ms",
        ],
    );
    for row in client_runtime()?.block_on(together(lives)) {
        table.row(row?);
    }
    Ok(Answer {
        method: format!(
            "Dead connections: {SIZE} callers at once, a request every {} ms for six times {} ms, after which the server closes \
             what is idle, then {SIZE} callers again; a new connection takes {} ms to greet. In CLOSE_WAIT before the second \
             burst: closed by the server, which counts them, and not by the client. Met dead: by the probe of a checkout.",
            millis(tick(patience)),
            patience.as_millis(),
            HANDSHAKE.as_millis()
        ),
        table,
        seen: "Looked at only when it is checked out, a stack keeps its dead in CLOSE_WAIT until the next burst finds them, and a \
               queue meets them one by one; watched, neither order leaves any. A queue comes to use each connection just when the \
               server is about to close it, where a request may meet the closing itself, which no probe prevents; a stack never \
               waits that long with the one it uses."
            .into(),
    })
}

/// A queue takes a quarter longer than the server's patience to use each of its connections once.
fn tick(patience: Duration) -> Duration {
    patience / 40
}

async fn live(order: Order, care: Care, patience: Duration) -> io::Result<Vec<String>> {
    let backend = Backend::start(Habits {
        handshake: HANDSHAKE,
        idle_timeout: Some(patience),
        ..Habits::default()
    })?;
    let backends = Backends::of(std::slice::from_ref(&backend));
    let backends = match care {
        Care::Looked | Care::ReapedFirst => backends.unwatched(),
        Care::Watched => backends,
    };
    let idle_timeout = matches!(care, Care::ReapedFirst).then(|| patience.mul_f64(0.6));
    let policy = Policy {
        order,
        idle_timeout,
    };
    let pool = policy.pool(backends, SIZE);
    burst(&pool, SIZE).await;
    let lost = trickle(&pool, tick(patience), patience * 6).await;
    let (forsaken, met) = (backend.forsaken(), pool.manager().met_dead());
    let served = burst(&pool, SIZE).await;
    Ok(vec![
        format!("{}, {}", order_name(order), care.in_words()),
        forsaken.to_string(),
        met.to_string(),
        (pool.manager().met_dead() - met).to_string(),
        lost.to_string(),
        millis(percentile(&served, 1.0)),
    ])
}
