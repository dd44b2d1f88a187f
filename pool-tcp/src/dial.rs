//! From a name to a connected socket: resolve anew, then race the addresses (RFC 8305, "happy eyeballs").

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use crate::error::AddressError;

/// Where to dial: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn parse(address: &str) -> Result<Self, AddressError> {
        let address_owned = || address.to_owned();
        if address.contains('/') {
            return Err(AddressError::Url {
                address: address_owned(),
            });
        }
        let no_port = || AddressError::NoPort {
            address: address_owned(),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(AddressError::NoBrackets {
                    address: address_owned(),
                })?;
                (host, rest.strip_prefix(':').ok_or_else(no_port)?)
            }
            None => address.rsplit_once(':').ok_or_else(|| match address {
                "" => AddressError::NoHost {
                    address: address_owned(),
                },
                _ => no_port(),
            })?,
        };
        if host.is_empty() {
            return Err(AddressError::NoHost {
                address: address_owned(),
            });
        }
        if host.contains(':') && !address.starts_with('[') {
            return Err(AddressError::NoBrackets {
                address: address_owned(),
            });
        }
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ if port.is_empty() => Err(AddressError::NoPort {
                address: address.trim_end_matches(':').to_owned(),
            }),
            _ => Err(AddressError::BadPort {
                address: address_owned(),
                port: port.to_owned(),
            }),
        }
    }

    /// All addresses, in the order in which to try them.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let addresses = alternate_families(found.collect());
        match addresses.is_empty() {
            false => Ok(addresses),
            true => Err(io::Error::new(io::ErrorKind::NotFound, "no address")),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// One family, then the other, in turns; the resolver's first address stays first (RFC 8305 §4).
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else {
        return addresses;
    };
    let all = addresses.len();
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first.is_ipv6());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut alternated = Vec::with_capacity(all);
    while alternated.len() < all {
        alternated.extend(preferred.next());
        alternated.extend(other.next());
    }
    alternated
}

/// Starts an attempt for each address, `delay` after the one before or as soon as one fails (RFC 8305 §5).
///
/// The first success wins and the other attempts are dropped. If there is none, every error is reported.
///
/// # Cancellation
///
/// Drops the attempts under way.
pub(crate) async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    delay: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failed = Vec::new();
    let mut pause = pin!(sleep(Duration::ZERO));
    let mut start_one = true;
    poll_fn(|cx| {
        loop {
            if start_one && let Some(address) = waiting.next() {
                running.push((address, Box::pin(attempt(address))));
                pause.set(sleep(delay));
            }
            start_one = false;

            let mut index = 0;
            while let Some((address, attempt)) = running.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        failed.push((*address, error));
                        running.remove(index);
                        start_one = true;
                    }
                    Poll::Pending => index += 1,
                }
            }

            if waiting.len() == 0 {
                return match running.is_empty() {
                    true => Poll::Ready(Err(std::mem::take(&mut failed))),
                    false => Poll::Pending,
                };
            }
            start_one = start_one || pause.as_mut().poll(cx).is_ready();
            if !start_one {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::pending;
    use tokio::time::{Duration, timeout};

    const DELAY: Duration = Duration::from_millis(250);

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let parsed = |address| Target::parse(address).map(|target| (target.host, target.port));
        assert_eq!(parsed("db:5432"), Ok(("db".into(), 5432)));
        assert_eq!(parsed("127.0.0.1:80"), Ok(("127.0.0.1".into(), 80)));
        assert_eq!(parsed("[::1]:80"), Ok(("::1".into(), 80)));
        assert_eq!(Target::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn a_bad_address_is_refused_with_the_remedy() {
        let message = |address| Target::parse(address).unwrap_err().to_string();
        assert!(message("localhost").contains("write localhost:80"));
        assert!(message("localhost:").contains("write localhost:80"));
        assert!(message("[::1]").contains("write [::1]:80"));
        assert!(message("").contains("no host"));
        assert!(message(":80").contains("no host"));
        assert!(message("[]:80").contains("no host"));
        assert!(message("::1").contains("write [address]:port"));
        assert!(message("fe80::1:80").contains("write [address]:port"));
        assert!(message("[::1").contains("write [address]:port"));
        assert!(message("http://localhost:80/").contains("this is a URL"));
        assert!(message("localhost:0").contains("\"0\" is not a port"));
        assert!(message("localhost:http").contains("\"http\" is not a port"));
        assert!(message("localhost:70000").contains("\"70000\" is not a port"));
    }

    #[test]
    fn families_alternate_and_the_first_address_stays_first() {
        let found = addresses(&[
            "[::1]:1",
            "[::2]:1",
            "[::3]:1",
            "127.0.0.1:1",
            "127.0.0.2:1",
        ]);
        let expected = addresses(&[
            "[::1]:1",
            "127.0.0.1:1",
            "[::2]:1",
            "127.0.0.2:1",
            "[::3]:1",
        ]);
        assert_eq!(alternate_families(found), expected);
        assert_eq!(alternate_families(vec![]), vec![]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_address_starts_a_delay_after_a_silent_first() {
        let started = RefCell::new(0);
        let addresses = addresses(&["[::1]:1", "127.0.0.1:1"]);
        let mut race = pin!(race(addresses, DELAY, |address| {
            *started.borrow_mut() += 1;
            async move {
                match address.is_ipv6() {
                    true => pending().await,
                    false => Ok(address),
                }
            }
        }));
        assert!(
            timeout(DELAY - Duration::from_millis(1), &mut race)
                .await
                .is_err()
        );
        assert_eq!(*started.borrow(), 1);
        assert!(race.await.unwrap().is_ipv4());
        assert_eq!(*started.borrow(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_address_at_once() {
        let addresses = addresses(&["[::1]:1", "127.0.0.1:1"]);
        let race = race(addresses, DELAY, |address| async move {
            match address.is_ipv6() {
                true => Err(refused()),
                false => Ok(address),
            }
        });
        let winner = timeout(Duration::from_millis(1), race)
            .await
            .expect("no delay");
        assert!(winner.unwrap().is_ipv4());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let addresses = addresses(&["[::1]:1", "127.0.0.1:1"]);
        let winner = race(addresses, DELAY, |address| async move {
            match address.is_ipv6() {
                true => sleep(DELAY * 2).await,
                false => pending().await,
            }
            Ok::<_, io::Error>(address)
        });
        assert!(winner.await.unwrap().is_ipv6());
    }

    #[tokio::test(start_paused = true)]
    async fn every_error_is_reported() {
        let addresses = addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let failed = race(addresses.clone(), DELAY, |_| async {
            Err::<(), _>(refused())
        })
        .await
        .unwrap_err();
        let tried: Vec<_> = failed.into_iter().map(|(address, _)| address).collect();
        assert_eq!(tried, addresses);
    }

    #[tokio::test(start_paused = true)]
    async fn no_address_is_no_connection() {
        let failed = race(vec![], DELAY, |_| async { Ok(()) }).await;
        assert!(failed.unwrap_err().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_losers_are_dropped_with_the_race() {
        let live = std::rc::Rc::new(());
        let addresses = addresses(&["[::1]:1", "127.0.0.1:1"]);
        let winner = race(addresses, DELAY, |address| {
            let live = live.clone();
            async move {
                if address.is_ipv6() {
                    pending::<()>().await;
                }
                drop(live);
                Ok::<_, io::Error>(())
            }
        });
        winner.await.unwrap();
        assert_eq!(std::rc::Rc::strong_count(&live), 1);
    }
}
