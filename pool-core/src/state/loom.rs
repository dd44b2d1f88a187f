//! Every interleaving of the pairs of transitions that meet in a running pool.
//!
//! The state has neither lock nor atomics, so it is put into loom's mutex as it is. What surrounds it in the shell and
//! does have atomics, the watch on an idle connection, is modelled beside it, step for step as in `watch.rs`.
//!
//! `RUSTFLAGS="--cfg pool_loom" cargo test -p pool-core --release --lib loom`

use ::loom::sync::atomic::{AtomicBool, Ordering};
use ::loom::sync::{Arc, Mutex};
use ::loom::thread;
use std::task::Waker;

use super::*;

type Tested = State<u64, &'static str>;
type Owed = Effects<u64, &'static str>;

fn state(max_size: usize) -> Tested {
    let config = Config {
        max_size,
        ..Config::default()
    };
    State::new(&config, Vec::new())
}

fn transition<R>(
    state: &Mutex<Tested>,
    change: impl FnOnce(&mut Tested, &mut Owed) -> R,
) -> (R, Owed) {
    let mut effects = Effects::new();
    let answer = change(&mut state.lock().unwrap(), &mut effects);
    (answer, effects)
}

fn request(state: &Mutex<Tested>) -> (Result<WaiterId, Grant<u64, &'static str>>, Owed) {
    transition(state, |state, effects| {
        let waker = match state.queue(Time::NEVER, Waker::noop().clone(), Time::START) {
            Ok(place) => return Ok(place),
            Err(waker) => waker,
        };
        state.request(None, false, Time::NEVER, waker, Time::START, effects)
    })
}

/// As `Lease::make_available`.
fn come_home(state: &mut Tested, lent: Lent<u64>, now: Time, effects: &mut Owed) {
    let mut value = Some(lent.value);
    match state.check_in(lent.slot, &mut value, now) {
        Some(CheckedIn::Granted(waker)) => effects.wake.extend([waker]),
        Some(CheckedIn::Idle) => {}
        None => state.give_back(lent.slot, value.unwrap(), None, now, effects),
    }
}

/// A state whose only slot holds connection 7, which is out.
fn one_out(state: Tested) -> (Arc<Mutex<Tested>>, Lent<u64>) {
    let state = Arc::new(Mutex::new(state));
    let (place, effects) = request(&state);
    let dial = effects.dial.into_iter().next().unwrap();
    transition(&state, |state, effects| {
        state.connected(dial.slot, 7, Time::START, 0, effects)
    });
    let lent = match state.lock().unwrap().collect(place.unwrap(), Waker::noop()) {
        Ok(Grant::Connection(lent)) => lent,
        other => panic!("{other:?}"),
    };
    (state, lent)
}

/// The same, and a caller who waits for it.
fn one_out_and_one_waiting() -> (Arc<Mutex<Tested>>, Lent<u64>, WaiterId) {
    let (state, lent) = one_out(state(1));
    let (place, _) = request(&state);
    (state, lent, place.unwrap())
}

#[test]
fn hand_off_against_cancel() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        let giver = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                transition(&state, |state, effects| {
                    come_home(state, lent, Time::START, effects);
                });
            })
        };
        transition(&state, |state, effects| {
            state.leave(place, Time::START, effects)
        });
        giver.join().unwrap();
        let counts = state.lock().unwrap().counts();
        assert_eq!((counts.idle, counts.in_use, counts.waiting), (1, 0, 0));
    });
}

#[test]
fn hand_off_against_a_newcomer() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        let giver = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                transition(&state, |state, effects| {
                    come_home(state, lent, Time::START, effects);
                });
            })
        };
        assert!(
            state.lock().unwrap().check_out(Time::START).is_none(),
            "the newcomer overtook"
        );
        giver.join().unwrap();
        assert!(matches!(
            state.lock().unwrap().collect(place, Waker::noop()),
            Ok(Grant::Connection(_))
        ));
    });
}

#[test]
fn check_in_against_close() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        let closer = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                transition(&state, |state, effects| {
                    state.close(effects);
                })
                .1
                .close
            })
        };
        let given = transition(&state, |state, effects| {
            come_home(state, lent, Time::START, effects);
        });
        let mut owed = given.1.close;
        owed.extend(closer.join().unwrap());
        let granted = state.lock().unwrap().collect(place, Waker::noop());
        match granted {
            Ok(Grant::Connection(lent)) => {
                let given = transition(&state, |state, effects| {
                    come_home(state, lent, Time::START, effects);
                });
                owed.extend(given.1.close);
            }
            Ok(Grant::Closed) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(owed.len(), 1, "closed once");
        for (lent, _) in owed {
            transition(&state, |state, effects| {
                state.closed(lent.slot, Time::START, effects)
            });
        }
        assert_eq!(state.lock().unwrap().slots.used(), 0);
    });
}

#[test]
fn resize_against_dial() {
    ::loom::model(|| {
        let state = Arc::new(Mutex::new(state(1)));
        let (place, effects) = request(&state);
        let dial = effects.dial.into_iter().next().unwrap();
        let operator = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let resize = |size| {
                    transition(&state, |state, effects| {
                        state.resize(size, Time::FIRST, effects);
                    })
                    .1
                };
                let mut effects = resize(0);
                let grown = resize(1);
                effects.close.extend(grown.close);
                effects.dial.extend(grown.dial);
                effects
            })
        };
        let mut owed = transition(&state, |state, effects| {
            state.connected(dial.slot, 7, Time::FIRST, 0, effects);
        })
        .1;
        let ordered = operator.join().unwrap();
        owed.close.extend(ordered.close);
        owed.dial.extend(ordered.dial);
        for (lent, reason) in owed.close {
            assert_eq!(reason, CloseReason::Resized);
            let freed = transition(&state, |state, effects| {
                state.closed(lent.slot, Time::FIRST, effects);
            });
            owed.dial.extend(freed.1.dial);
        }
        for dial in owed.dial {
            transition(&state, |state, effects| {
                state.connected(dial.slot, 8, Time::FIRST, 0, effects);
            });
        }
        let counts = state.lock().unwrap().counts();
        assert_eq!(
            (counts.in_use, counts.connecting, counts.closing),
            (1, 0, 0)
        );
        let granted = state.lock().unwrap().collect(place.unwrap(), Waker::noop());
        assert!(matches!(granted, Ok(Grant::Connection(_))));
    });
}

#[test]
fn retire_against_check_in() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        transition(&state, |state, effects| {
            state.leave(place, Time::FIRST, effects)
        });
        let operator = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                transition(&state, |state, effects| {
                    let everything = state.next_number();
                    state.retire(everything, effects);
                    state.expire(Time::FIRST, effects);
                })
                .1
                .close
            })
        };
        let mut owed = transition(&state, |state, effects| {
            come_home(state, lent, Time::FIRST, effects);
        })
        .1
        .close;
        owed.extend(operator.join().unwrap());
        assert_eq!(owed.len(), 1, "retired once");
        assert_eq!(owed[0].1, CloseReason::Retired);
        assert_eq!(state.lock().unwrap().counts().idle, 0);
    });
}

#[test]
fn pause_and_resume_against_check_in() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        let operator = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                state.lock().unwrap().pause();
                transition(&state, |state, effects| {
                    state.resume(Time::FIRST, effects);
                });
            })
        };
        transition(&state, |state, effects| {
            come_home(state, lent, Time::FIRST, effects);
        });
        operator.join().unwrap();
        let granted = state.lock().unwrap().collect(place, Waker::noop());
        assert!(matches!(granted, Ok(Grant::Connection(_))), "{granted:?}");
    });
}

#[test]
fn check_in_against_the_first_caller_of_a_queue_that_is_full() {
    ::loom::model(|| {
        let config = Config {
            max_size: 1,
            max_waiters: Some(0),
            ..Config::default()
        };
        let (state, lent) = one_out(State::new(&config, Vec::new()));
        let caller = {
            let state = Arc::clone(&state);
            thread::spawn(move || request(&state).0)
        };
        transition(&state, |state, effects| {
            come_home(state, lent, Time::FIRST, effects);
        });
        // He came before it or after, and never waits.
        match caller.join().unwrap() {
            Err(Grant::Connection(_) | Grant::Refused) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_dial_against_the_cancel_of_who_wanted_it() {
    ::loom::model(|| {
        let state = Arc::new(Mutex::new(state(1)));
        let (place, effects) = request(&state);
        let dial = effects.dial.into_iter().next().unwrap();
        let dialler = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                transition(&state, |state, effects| {
                    state.connected(dial.slot, 7, Time::START, 0, effects);
                });
            })
        };
        let place = place.unwrap();
        transition(&state, |state, effects| {
            state.leave(place, Time::START, effects)
        });
        dialler.join().unwrap();
        let counts = state.lock().unwrap().counts();
        assert_eq!((counts.idle, counts.in_use, counts.connecting), (1, 0, 0));
    });
}

#[test]
fn two_callers_and_one_connection() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        transition(&state, |state, effects| {
            state.leave(place, Time::START, effects)
        });
        transition(&state, |state, effects| {
            come_home(state, lent, Time::START, effects)
        });
        let other = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.lock().unwrap().check_out(Time::START).is_some())
        };
        let mine = state.lock().unwrap().check_out(Time::START).is_some();
        assert!(mine ^ other.join().unwrap(), "one connection, one owner");
    });
}

/// A peer, and the watch on the one connection to it.
struct Watched {
    state: Mutex<Tested>,
    inbox: Mutex<Vec<SlotId>>,
    armed: AtomicBool,
    socket: Mutex<Socket>,
}

/// Promises what a reactor does: whoever registered before the FIN is woken by it, and whoever comes later sees it.
#[derive(Default)]
struct Socket {
    waker_registered: bool,
    fin: bool,
}

impl Watched {
    /// `Live::watch`.
    fn watch_says_dropped(&self) -> bool {
        self.armed.store(true, Ordering::Release);
        let mut socket = self.socket.lock().unwrap();
        socket.waker_registered = true;
        socket.fin
    }

    fn peer_closes(&self, slot: SlotId) {
        let woken = {
            let mut socket = self.socket.lock().unwrap();
            socket.fin = true;
            socket.waker_registered
        };
        if woken && self.armed.swap(false, Ordering::AcqRel) {
            self.inbox.lock().unwrap().push(slot);
        }
    }

    /// `Shared::make_available`.
    fn come_home(&self, lent: Lent<u64>) {
        if self.watch_says_dropped() {
            self.state
                .lock()
                .unwrap()
                .discard(lent.slot, CloseReason::Discarded);
            return;
        }
        let mut state = self.state.lock().unwrap();
        let stirred = !self.armed.load(Ordering::Acquire);
        state.give_back(
            lent.slot,
            lent.value,
            None,
            Time::START,
            &mut Effects::new(),
        );
        drop(state);
        if stirred {
            self.inbox.lock().unwrap().push(lent.slot);
        }
    }

    /// One round of the maintenance task.
    fn maintain(&self) {
        let letters = std::mem::take(&mut *self.inbox.lock().unwrap());
        for slot in letters {
            let inspected = self.state.lock().unwrap().inspect(slot, None, Time::FIRST);
            if let Some(value) = inspected {
                self.come_home(Lent { slot, value });
            }
        }
    }
}

#[test]
fn a_fin_against_check_in_and_the_maintenance_task() {
    ::loom::model(|| {
        let (state, lent, place) = one_out_and_one_waiting();
        transition(&state, |state, effects| {
            state.leave(place, Time::START, effects)
        });
        let slot = lent.slot;
        let state = Arc::try_unwrap(state).unwrap().into_inner().unwrap();
        let watched = Arc::new(Watched {
            state: Mutex::new(state),
            inbox: Mutex::default(),
            armed: AtomicBool::new(false),
            socket: Mutex::default(),
        });
        let peer = {
            let watched = Arc::clone(&watched);
            thread::spawn(move || watched.peer_closes(slot))
        };
        let maintenance = {
            let watched = Arc::clone(&watched);
            thread::spawn(move || watched.maintain())
        };
        watched.come_home(lent);
        peer.join().unwrap();
        maintenance.join().unwrap();
        // Whoever put a letter into the box also woke the task.
        watched.maintain();
        assert_eq!(
            watched.state.lock().unwrap().counts().idle,
            0,
            "a dead connection lies idle unnoticed"
        );
    });
}
