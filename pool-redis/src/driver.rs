//! The task that drives a connection, and the socket under it as the kernel sees it.

use std::future::Future;

use pool_core::Capacity;
use pool_tcp::{AnyProbe, Driver, Liveness, OnReadable};

use crate::end::End;

/// A driver, and those it tells of its end, however that may be.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) driver: Driver,
    pub(crate) capacity: Capacity,
    pub(crate) end: End,
}

impl Driven {
    /// Runs `drive` in a task. It carries as many users as there are.
    pub(crate) fn spawn(drive: impl Future<Output = ()> + Send + 'static, probe: Probe) -> Self {
        let (capacity, end) = (Capacity::new(usize::MAX), End::default());
        let ends = Ends {
            capacity: capacity.clone(),
            end: end.clone(),
        };
        let drive = async move {
            // Dropped last, however this ends.
            let _ends = ends;
            drive.await;
        };
        Self {
            driver: Driver::spawn(drive, probe.socket, probe.on_readable),
            capacity,
            end,
        }
    }
}

/// Lives as long as the task, which may be aborted.
struct Ends {
    capacity: Capacity,
    end: End,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.capacity.drain();
        self.end.comes();
    }
}

/// Looks at the socket without a round trip.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    socket: AnyProbe,
    /// What bytes mean that the driver has not read yet.
    on_readable: OnReadable,
}

impl Probe {
    pub(crate) fn new(socket: impl Into<AnyProbe>, on_readable: OnReadable) -> Self {
        Self {
            socket: socket.into(),
            on_readable,
        }
    }

    /// Whether it is at its end, whatever there is to read.
    pub(crate) fn is_closed(&self) -> bool {
        self.socket.liveness() == Liveness::Dropped
    }

    pub(crate) fn shutdown_now(&self) {
        self.socket.shutdown_now();
    }
}
