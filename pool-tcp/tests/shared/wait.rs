//! Waiting for what must happen, however slow the machine is.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Far longer than anything here takes, so that only a hang fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How often is looked.
const STEP: Duration = Duration::from_millis(2);

/// How many steps the limit has.
const STEPS: u128 = LIMIT.as_millis() / STEP.as_millis();

/// Waits until `condition` holds, and lets the runtime work meanwhile.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        for _ in 0..STEPS {
            if condition() {
                return;
            }
            sleep(STEP).await;
        }
        assert!(condition(), "not within {LIMIT:?}, awaited at {caller}");
    }
}

/// As [`eventually`], for a value: whoever waits in vain is told what it was in the end.
#[track_caller]
pub(crate) fn becomes<T: PartialEq + Debug>(
    mut look: impl FnMut() -> T,
    expected: T,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        for _ in 0..STEPS {
            if look() == expected {
                return;
            }
            sleep(STEP).await;
        }
        assert_eq!(look(), expected, "after {LIMIT:?}, awaited at {caller}");
    }
}

/// As [`eventually`], but blocks the thread, so that on a current-thread runtime neither the reactor nor a task runs.
#[track_caller]
pub(crate) fn arrives(mut condition: impl FnMut() -> bool) {
    for _ in 0..STEPS {
        if condition() {
            return;
        }
        std::thread::sleep(STEP);
    }
    assert!(condition(), "not within {LIMIT:?}");
}

/// Awaits what must end.
#[track_caller]
pub(crate) fn in_time<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        match timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("not done within {LIMIT:?}, awaited at {caller}"),
        }
    }
}
