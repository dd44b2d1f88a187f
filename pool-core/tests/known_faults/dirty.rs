//! Dirty connections: what one user left behind, and the next one got.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pool_core::{Check, CloseReason, Manager, Pool, Recycle};

use crate::support::{builder, poll, settle};

/// Its connections remember their last user until they are reset.
#[derive(Default)]
struct Sessions(AtomicUsize);

#[derive(Default)]
struct Session {
    number: usize,
    user: Option<&'static str>,
    /// Put by its user into a mode in which nobody else can use it.
    subscribed: bool,
}

impl Manager for Sessions {
    type Connection = Session;
    type Error = Infallible;

    async fn connect(&self) -> Result<Session, Infallible> {
        Ok(Session {
            number: self.0.fetch_add(1, Ordering::SeqCst) + 1,
            ..Session::default()
        })
    }

    fn is_dropped(&self, _: &mut Session) -> bool {
        false
    }

    fn recycle(&self, session: &mut Session) -> Recycle {
        match (session.subscribed, session.user) {
            (true, _) => Recycle::Discard,
            (false, Some(_)) => Recycle::Reset,
            (false, None) => Recycle::Keep,
        }
    }

    async fn reset(&self, session: &mut Session) -> Result<(), Infallible> {
        tokio::task::yield_now().await;
        session.user = None;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_reset_before_the_next_user_gets_it() {
    let pool = Pool::builder(Sessions::default())
        .max_size(1)
        .build()
        .unwrap();
    let mut session = pool.checkout().await.unwrap();
    session.user = Some("the first");
    drop(session);
    // He who was waiting already, and one who finds it idle.
    for _ in 0..2 {
        assert!(pool.try_checkout().is_err(), "not before it is clean");
        let mut session = pool.checkout().await.unwrap();
        assert_eq!((session.number, session.user), (1, None));
        session.user = Some("the next");
        drop(session);
    }
    settle().await;
    assert_eq!(pool.try_checkout().unwrap().user, None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_its_user_left_in_another_mode_is_not_given_to_the_next() {
    let pool = Pool::builder(Sessions::default())
        .max_size(1)
        .build()
        .unwrap();
    pool.checkout().await.unwrap().subscribed = true;
    let session = pool.checkout().await.unwrap();
    assert_eq!((session.number, session.subscribed), (2, false));
}

#[tokio::test(start_paused = true)]
async fn what_the_manager_does_not_want_back_is_closed() {
    let pool = builder().build().unwrap();
    pool.manager().recycles(Recycle::Discard);
    drop(pool.checkout().await.unwrap());
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_check_was_cancelled_is_not_kept() {
    let hangs = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&hangs);
    let ping = Check::future(move |_, _| {
        let hangs = told.load(Ordering::SeqCst);
        Box::pin(async move {
            match hangs {
                true => std::future::pending().await,
                false => Ok(()),
            }
        })
    });
    let pool = builder().check(ping.at_checkout()).build().unwrap();
    drop(pool.checkout().await.unwrap());
    hangs.store(true, Ordering::SeqCst);
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll(&mut checkout).is_pending());
    // The question was asked and the answer is on its way.
    drop(checkout);
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(pool.metrics().closed_for(CloseReason::CheckFailed), 1);
    assert_eq!(pool.checkout().await.unwrap().number(), 2);
}
