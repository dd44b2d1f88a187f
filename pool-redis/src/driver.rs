//! The task that drives a connection, and the socket under it as the kernel sees it.

use std::future::Future;
use std::task::{Context, Poll};

use pool_core::{Capacity, Dropped};
use pool_tcp::{Liveness, OnReadable, SocketProbe};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::end::End;

/// Owns the task that owns the stream. Dropped, it closes the connection.
#[derive(Debug)]
pub(crate) struct Driver {
    task: JoinHandle<()>,
    probe: Probe,
    /// Where the task and the timers of commands run, whoever polls them.
    runtime: Handle,
    end: End,
    /// The task is to live on.
    is_released: bool,
}

impl Driver {
    /// Runs `driver`, and tells `capacity` when it ends, however that may be.
    pub(crate) fn spawn(
        driver: impl Future<Output = ()> + Send + 'static,
        probe: Probe,
        capacity: Capacity,
    ) -> Self {
        let runtime = Handle::current();
        let end = End::default();
        let ends = Ends {
            capacity,
            end: end.clone(),
        };
        let task = runtime.spawn(async move {
            // Dropped last, however this ends.
            let _ends = ends;
            driver.await;
        });
        Self {
            task,
            probe,
            runtime,
            end,
            is_released: false,
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn end(&self) -> &End {
        &self.end
    }

    /// Whether nothing can be sent any more. Costs no system call, and may be late.
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Whether the connection is of no more use. Both are asked: the kernel knows of a FIN before the task has run, and
    /// the task of an error that is none of the socket's.
    #[inline]
    pub(crate) fn is_dropped(&self) -> bool {
        self.is_finished() || self.probe.is_dropped()
    }

    pub(crate) fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.probe.poll_dropped(cx)
    }

    /// Ends when the socket is closed. The peer has its FIN after the first poll.
    pub(crate) async fn close(mut self) {
        self.hang_up();
        // Cancelled or done, the task and the stream in it are gone.
        let _ = (&mut self.task).await;
    }

    /// Lets the task go on until nobody holds the connection.
    pub(crate) fn release(mut self) {
        self.is_released = true;
    }

    fn hang_up(&self) {
        self.probe.shutdown_now();
        self.task.abort();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.is_released {
            self.hang_up();
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
    socket: Socket,
    /// What bytes mean that the driver has not read yet.
    on_readable: OnReadable,
}

#[derive(Clone, Debug)]
enum Socket {
    Tcp(SocketProbe<TcpStream>),
    #[cfg(unix)]
    Unix(SocketProbe<UnixStream>),
}

impl Probe {
    pub(crate) fn tcp(probe: SocketProbe<TcpStream>, on_readable: OnReadable) -> Self {
        Self {
            socket: Socket::Tcp(probe),
            on_readable,
        }
    }

    #[cfg(unix)]
    pub(crate) fn unix(probe: SocketProbe<UnixStream>, on_readable: OnReadable) -> Self {
        Self {
            socket: Socket::Unix(probe),
            on_readable,
        }
    }

    #[inline]
    fn liveness(&self) -> Liveness {
        match &self.socket {
            Socket::Tcp(probe) => probe.liveness(),
            #[cfg(unix)]
            Socket::Unix(probe) => probe.liveness(),
        }
    }

    /// Whether it is at its end, whatever there is to read.
    pub(crate) fn is_closed(&self) -> bool {
        self.liveness() == Liveness::Dropped
    }

    #[inline]
    fn is_dropped(&self) -> bool {
        match self.liveness() {
            Liveness::Alive => false,
            Liveness::Dropped => true,
            Liveness::Readable => self.on_readable != OnReadable::Ignore,
        }
    }

    fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<Dropped> {
        match &mut self.socket {
            Socket::Tcp(probe) => probe.poll_dropped(cx, self.on_readable),
            #[cfg(unix)]
            Socket::Unix(probe) => probe.poll_dropped(cx, self.on_readable),
        }
    }

    pub(crate) fn shutdown_now(&self) {
        match &self.socket {
            Socket::Tcp(probe) => probe.shutdown_now(),
            #[cfg(unix)]
            Socket::Unix(probe) => probe.shutdown_now(),
        }
    }
}
