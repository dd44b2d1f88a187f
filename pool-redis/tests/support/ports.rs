//! Ports that stay free while a server restarts.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below what most kernels give to outgoing connections, one of which might sit on a server's port while the server is
/// away; and low enough that a cluster's bus, 10,000 above, is a port as well.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of this machine on which nobody listens at the moment. It is not reserved: whoever finds it taken asks for
/// another.
pub(crate) fn free_port() -> u16 {
    (0..COUNT)
        .map(|_| candidate())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one port of twenty thousand is free")
}

/// The next one; each process starts somewhere else, as several run at once.
fn candidate() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let somewhere =
            (u64::from(std::process::id()) * 7_919 + u64::from(now / 1_000)) % u64::from(COUNT);
        AtomicU16::new(u16::try_from(somewhere).expect("less than COUNT"))
    });
    FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT
}
