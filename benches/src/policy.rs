//! The policies: one and the same pool, with parts of it switched off.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{Builder, Order, Pool};

use crate::manager::LabManager;

/// What a pool does about connections that die while they are idle.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The stable name of the report.
    pub(crate) name: &'static str,
    pub(crate) order: Order,
    /// What it is, and who does it that way.
    pub(crate) title: &'static str,
    /// Whether a connection is probed when it is checked out.
    pub(crate) probe: bool,
    /// Whether idle connections are watched.
    pub(crate) watch: bool,
    /// After how long an idle connection is reaped.
    pub(crate) idle_timeout: Option<Duration>,
}

impl Policy {
    fn new(order: Order, name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            order,
            title,
            probe: false,
            watch: false,
            idle_timeout: None,
        }
    }

    /// No look at a connection, ever.
    pub(crate) fn nothing(order: Order) -> Self {
        Self::new(order, "nothing", "no look at all, as in redis-py 2.10")
    }

    /// A look at the connection that is being checked out.
    pub(crate) fn probe(order: Order) -> Self {
        let policy = Self::new(order, "probe", "a probe at checkout, as in urllib3");
        Self {
            probe: true,
            ..policy
        }
    }

    /// Idle connections are closed by age alone.
    pub(crate) fn reap(order: Order, idle_timeout: Duration) -> Self {
        let policy = Self::new(order, "reap", "idle connections closed by age alone");
        Self {
            idle_timeout: Some(idle_timeout),
            ..policy
        }
    }

    /// Closed by age, and probed at checkout.
    pub(crate) fn probe_and_reap(order: Order, idle_timeout: Duration) -> Self {
        let title = "a probe at checkout, idle ones closed by age";
        Self {
            name: "probe+reap",
            title,
            probe: true,
            ..Self::reap(order, idle_timeout)
        }
    }

    /// Idle connections are watched, and probed at checkout.
    pub(crate) fn watch(order: Order) -> Self {
        let policy = Self::new(order, "watch", "a peer's FIN evicts the idle connection");
        Self {
            probe: true,
            watch: true,
            ..policy
        }
    }

    /// The default of this pool.
    pub(crate) fn ours(order: Order, idle_timeout: Duration) -> Self {
        Self {
            name: "watch+reap",
            title: "this pool's default: evicted on FIN, probed at checkout, closed by age",
            idle_timeout: Some(idle_timeout),
            ..Self::watch(order)
        }
    }

    /// The same policy under another name.
    pub(crate) fn named(self, name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            ..self
        }
    }

    /// A pool that follows this policy; what a story needs beyond that is set on the builder.
    pub(crate) fn builder(&self, manager: LabManager) -> Builder<LabManager> {
        let heard = Arc::clone(&manager.tally.heard);
        Pool::builder(manager)
            .observer(heard)
            .order(self.order)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(None)
            .max_connecting(16)
            .connect_timeout(Duration::from_secs(2))
            .checkout_timeout(Duration::from_secs(4))
    }

    /// `lifo` or `fifo`, as the report has it.
    pub(crate) fn order_name(&self) -> &'static str {
        match self.order {
            Order::Lifo => "lifo",
            Order::Fifo => "fifo",
        }
    }
}
