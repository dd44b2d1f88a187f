//! Managers for the examples of this crate; not part of its promises.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::manager::Manager;
use crate::multiplex::{Capacity, Share};

/// Its connections are the numbers from 1.
#[derive(Debug, Default)]
pub struct Numbers(AtomicU32);

impl Numbers {
    /// How many there are so far.
    pub fn dialled(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Manager for Numbers {
    type Connection = u32;
    type Error = Infallible;

    async fn connect(&self) -> Result<u32, Infallible> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn is_dropped(&self, _: &mut u32) -> bool {
        false
    }
}

/// Nobody listens.
#[derive(Debug)]
pub struct Refused;

impl Manager for Refused {
    type Connection = ();
    type Error = io::Error;

    async fn connect(&self) -> Result<(), io::Error> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn is_dropped(&self, (): &mut ()) -> bool {
        false
    }
}

/// Its connections are the numbers from 1, and each carries several users.
#[derive(Debug)]
pub struct Multiplexed {
    numbers: Numbers,
    carries: usize,
}

/// A number and how many users it carries.
#[derive(Debug)]
pub struct Line {
    number: u32,
    /// May be published anew.
    pub capacity: Capacity,
}

impl Multiplexed {
    /// Each of its connections carries so many.
    pub fn carrying(users: usize) -> Self {
        Self {
            numbers: Numbers::default(),
            carries: users,
        }
    }
}

impl Manager for Multiplexed {
    type Connection = Line;
    type Error = Infallible;

    async fn connect(&self) -> Result<Line, Infallible> {
        Ok(Line {
            number: self.numbers.connect().await?,
            capacity: Capacity::new(self.carries),
        })
    }

    fn is_dropped(&self, _: &mut Line) -> bool {
        false
    }
}

impl Share for Multiplexed {
    type Handle = u32;

    fn share(&self, line: &Line) -> u32 {
        line.number
    }

    fn capacity<'c>(&self, line: &'c Line) -> &'c Capacity {
        &line.capacity
    }
}

/// What the conformance check says of a scripted manager.
#[cfg(feature = "testkit")]
pub async fn scripted_report() -> crate::testkit::conformance::Report {
    use crate::testkit::{Peer, Scripted};

    let peer = Peer::default();
    let dialled = peer.clone();
    crate::testkit::conformance::Subject::new(move || Scripted::dialling(&dialled), peer)
        .check()
        .await
}

/// What it says of one that wakes nobody.
#[cfg(feature = "testkit")]
pub async fn broken_report() -> crate::testkit::conformance::Report {
    use crate::testkit::{Peer, Scripted};

    let peer = Peer::default();
    let dialled = peer.clone();
    let unwatched = move || {
        let manager = Scripted::dialling(&dialled);
        manager.is_watched(false);
        manager
    };
    crate::testkit::conformance::Subject::new(unwatched, peer)
        .limit(std::time::Duration::from_millis(200))
        .check()
        .await
}
