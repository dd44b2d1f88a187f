//! Errors: causes that were hidden, late, or somebody else's.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::time::Duration;

use pool_core::{CheckoutError, Manager, OnConnectError, Pool};

use crate::MILLISECOND;
use crate::support::{Gate, SECOND, Scripted, builder};

#[tokio::test(start_paused = true)]
async fn a_refused_dial_is_told_at_once_to_one_who_would_not_wait() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .on_connect_error(OnConnectError::Fail)
        .checkout_timeout(500 * MILLISECOND)
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = pool.checkout().await.unwrap_err();
    assert!(matches!(error, CheckoutError::Connect(_)), "{error:?}");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn every_caller_that_times_out_is_told_the_cause_and_not_only_the_first() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error]))
        .max_size(1)
        .build()
        .unwrap();
    let callers = (0..10).map(|_| pool.checkout().timeout(SECOND));
    for outcome in futures::future::join_all(callers).await {
        let error = outcome.map(drop).unwrap_err().to_string();
        assert!(error.contains("last connect error"), "{error}");
        assert!(error.ends_with("refused"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_is_not_taken_for_an_outage() {
    let pool = Pool::builder(Scripted::connecting([Gate::Error, Gate::Ok]))
        .max_size(1)
        .build()
        .unwrap();
    let _held = pool.checkout().await.unwrap();
    tokio::time::sleep(3_600 * SECOND).await;
    let Err(CheckoutError::Timeout(timeout)) = pool.checkout().await else {
        panic!("the only connection is out")
    };
    // The dial that failed an hour ago was followed by one that did not.
    assert!(timeout.last_connect_error.is_none());
    assert_eq!((timeout.status.in_use, timeout.status.max_size), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_older_than_the_last_good_dial_is_forgotten() {
    let pool = builder().max_size(1).build().unwrap();
    pool.manager()
        .connects([Gate::Error, Gate::Ok, Gate::Never]);
    drop(pool.checkout().await.unwrap());
    pool.manager().peer().hang_up(2);
    let error = pool.checkout().timeout(SECOND).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 1 s waiting for a connection (0 of 1 in use, 0 idle, 1 connecting, 1 waiting)"
    );
}

/// Fails in one way after the other, until there is none left.
struct FailsInTurn(Mutex<Vec<ErrorKind>>);

impl Manager for FailsInTurn {
    type Connection = ();
    type Error = io::Error;

    async fn connect(&self) -> io::Result<()> {
        match self.0.lock().unwrap().pop() {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn is_dropped(&self, (): &mut ()) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_error_is_dialling_goes_on_until_the_deadline() {
    let kinds = [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::TimedOut,
        ErrorKind::NotFound,
        ErrorKind::UnexpectedEof,
        ErrorKind::Other,
    ];
    let pool = Pool::builder(FailsInTurn(Mutex::new(kinds.to_vec())))
        .build()
        .unwrap();
    assert!(pool.checkout().await.is_ok());
}
