//! Every interleaving of the pairs of steps that meet between two keys.
//!
//! The states and the budget have neither lock nor atomics that matter, so they are put into loom's as they are. What
//! surrounds them is modelled beside, step for step as in `ledger.rs` and `lease.rs`.
//!
//! `RUSTFLAGS="--cfg pool_loom" cargo test -p pool-core --release --lib loom`

use ::loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use ::loom::sync::{Arc, Mutex};
use ::loom::thread;
use std::task::Waker;

use super::budget::{Budget, KeyId, Next};
use super::limits::OnFull;
use crate::config::Config;
use crate::reason::CloseReason;
use crate::state::{Dial, Effects, Grant, Lent, State, Time, WaiterId};

type Tested = State<u64, &'static str>;
type Owed = Effects<u64, &'static str>;

/// Keys under a total of one.
struct Model {
    keys: Vec<Mutex<Tested>>,
    budget: Mutex<Budget>,
    pressed: AtomicBool,
    turn: Mutex<()>,
    dials: Mutex<Vec<(usize, Dial)>>,
}

fn id(key: usize) -> KeyId {
    KeyId {
        hash: 0,
        serial: key as u64,
    }
}

impl Model {
    fn new(keys: usize) -> Self {
        let arrivals = std::sync::Arc::default();
        let state = || {
            let mut state = State::new(&Config::default(), Vec::new());
            state.join(&arrivals);
            Mutex::new(state)
        };
        Self {
            keys: (0..keys).map(|_| state()).collect(),
            budget: Mutex::new(Budget::new(1, OnFull::Wait)),
            pressed: AtomicBool::new(false),
            turn: Mutex::new(()),
            dials: Mutex::default(),
        }
    }

    /// `Ledger::budget`.
    fn budget<R>(&self, change: impl FnOnce(&mut Budget) -> R) -> R {
        let mut budget = self.budget.lock().unwrap();
        let answer = change(&mut budget);
        self.pressed.store(budget.is_pressed(), Ordering::Relaxed);
        answer
    }

    fn claim(&self, own: Option<u64>) -> bool {
        self.pressed.load(Ordering::Relaxed) && self.budget(|budget| budget.claim(own, Time::START))
    }

    /// `Shared::conclude` and `Member::settle`.
    fn step<R>(&self, key: usize, change: impl FnOnce(&mut Tested, &mut Owed) -> R) -> R {
        let mut effects = Effects::new();
        let mut state = self.keys[key].lock().unwrap();
        let answer = change(&mut state, &mut effects);
        while self.pressed.load(Ordering::Relaxed)
            && state.idle_since().is_some()
            && self.claim(None)
        {
            state.give_way(&mut effects);
        }
        let has_next = state.news(Time::START).is_some_and(|account| {
            self.budget(|budget| {
                budget.report(id(key), account);
                budget.has_next()
            })
        });
        drop(state);
        self.perform(key, effects);
        if has_next {
            self.settle();
        }
        answer
    }

    /// `Ledger::settle`.
    fn settle(&self) {
        let mut owed = Vec::new();
        let turn = self.turn.lock().unwrap();
        loop {
            match self.budget(Budget::next) {
                Next::Dial(id) => {
                    let (key, mut effects) = (id.serial as usize, Effects::new());
                    let mut state = self.keys[key].lock().unwrap();
                    state.admit(Time::START, &mut effects);
                    let account = state.tell(Time::START);
                    self.budget(|budget| budget.report(id, account));
                    drop(state);
                    owed.push((key, effects));
                }
                Next::MakeRoom => {
                    for (key, state) in self.keys.iter().enumerate() {
                        let (mut state, mut effects) = (state.lock().unwrap(), Effects::new());
                        if state.idle_since().is_some()
                            && self.budget(|budget| budget.claim(None, Time::START))
                        {
                            state.give_way(&mut effects);
                        }
                        drop(state);
                        owed.push((key, effects));
                    }
                }
                Next::Refuse(_) => unreachable!("nobody is refused"),
                Next::Nothing => break,
            }
        }
        drop(turn);
        for (key, effects) in owed {
            self.perform(key, effects);
        }
    }

    fn perform(&self, key: usize, effects: Owed) {
        let dials = effects.dial.into_iter().map(|dial| (key, dial));
        self.dials.lock().unwrap().extend(dials);
        for (lent, reason) in effects.close {
            self.close(key, lent, reason);
        }
    }

    /// `Closing`.
    fn close(&self, key: usize, lent: Lent<u64>, reason: CloseReason) {
        self.step(key, |state, effects| {
            state.closed(lent.slot, Time::START, effects)
        });
        if reason == CloseReason::GaveWay {
            let has_next = self.budget(|budget| {
                budget.gave_way();
                budget.has_next()
            });
            if has_next {
                self.settle();
            }
        }
    }

    /// `Lease::make_available`.
    fn come_home(&self, key: usize, Lent { slot, value }: Lent<u64>) {
        let mut state = self.keys[key].lock().unwrap();
        if self.claim(state.first_arrival()) {
            state.discard(slot, CloseReason::GaveWay);
            drop(state);
            return self.close(key, Lent { slot, value }, CloseReason::GaveWay);
        }
        let mut value = Some(value);
        let home = state.check_in(slot, &mut value, Time::START);
        if home.is_none() {
            drop(state);
            let value = value.unwrap();
            self.step(key, |state, effects| {
                state.give_back(slot, value, None, Time::START, effects)
            });
        }
    }

    fn queue(&self, key: usize) -> WaiterId {
        let waker = Waker::noop().clone();
        let place = self.step(key, |state, effects| {
            state.request(None, false, Time::NEVER, waker, Time::START, effects)
        });
        place.expect("nothing is idle")
    }

    fn leave(&self, key: usize, place: WaiterId) {
        self.step(key, |state, effects| {
            state.leave(place, Time::START, effects)
        });
    }

    /// A key whose only connection is out.
    fn hold(&self, key: usize) -> Lent<u64> {
        let place = self.queue(key);
        let (_, dial) = self.dials.lock().unwrap().pop().unwrap();
        self.step(key, |state, effects| {
            state.connected(dial.slot, dial.id, Time::START, 0, effects)
        });
        match self.keys[key].lock().unwrap().collect(place, Waker::noop()) {
            Ok(Grant::Connection(lent)) => lent,
            other => panic!("{other:?}"),
        }
    }

    fn dialled(&self) -> Vec<usize> {
        self.dials
            .lock()
            .unwrap()
            .iter()
            .map(|&(key, _)| key)
            .collect()
    }
}

#[test]
fn a_check_in_against_a_caller_of_another_key() {
    ::loom::model(|| {
        let model = Arc::new(Model::new(2));
        let lent = model.hold(0);
        let giver = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.come_home(0, lent))
        };
        model.queue(1);
        giver.join().unwrap();
        assert_eq!(model.dialled(), [1], "he waits beside an idle connection");
    });
}

#[test]
fn a_close_against_a_caller_of_another_key() {
    ::loom::model(|| {
        let model = Arc::new(Model::new(2));
        let lent = model.hold(0);
        model.keys[0]
            .lock()
            .unwrap()
            .discard(lent.slot, CloseReason::Discarded);
        let closer = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.close(0, lent, CloseReason::Discarded))
        };
        model.queue(1);
        closer.join().unwrap();
        assert_eq!(model.dialled(), [1], "there is room, and nobody was told");
    });
}

#[test]
fn a_close_against_the_cancel_of_whom_it_would_serve() {
    ::loom::model(|| {
        let model = Arc::new(Model::new(3));
        let lent = model.hold(0);
        let first = model.queue(1);
        model.queue(2);
        let giver = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.come_home(0, lent))
        };
        model.leave(1, first);
        giver.join().unwrap();
        // Whoever dials for nobody passes the room on when it is over; nobody does so twice.
        let dialled = model.dialled();
        assert!(dialled == [1] || dialled == [2], "{dialled:?}");
        if dialled == [1] {
            let (_, dial) = model.dials.lock().unwrap().pop().unwrap();
            model.step(1, |state, effects| {
                state.connected(dial.slot, dial.id, Time::START, 0, effects)
            });
            assert_eq!(
                model.dialled(),
                [2],
                "what was dialled for nobody lies idle"
            );
        }
    });
}

/// A key that is there for as long as somebody is, or something of it.
struct Place {
    is_vacant: Mutex<bool>,
    visitors: AtomicUsize,
    is_there: Mutex<bool>,
}

impl Place {
    /// `Keys::forget`.
    fn forget(&self) {
        let mut is_there = self.is_there.lock().unwrap();
        if self.visitors.load(Ordering::Acquire) == 0 && *self.is_vacant.lock().unwrap() {
            *is_there = false;
        }
    }

    /// The last connection is closed: `Member::follow`.
    fn empty(&self) {
        *self.is_vacant.lock().unwrap() = true;
        self.forget();
    }

    /// `Visit::drop`.
    fn depart(&self) {
        let was_last = self.visitors.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && *self.is_vacant.lock().unwrap() {
            self.forget();
        }
    }
}

#[test]
fn the_last_visitor_against_the_last_connection() {
    ::loom::model(|| {
        let place = Arc::new(Place {
            is_vacant: Mutex::new(false),
            visitors: AtomicUsize::new(1),
            is_there: Mutex::new(true),
        });
        let visitor = {
            let place = Arc::clone(&place);
            thread::spawn(move || place.depart())
        };
        place.empty();
        visitor.join().unwrap();
        assert!(
            !*place.is_there.lock().unwrap(),
            "each left it to the other"
        );
    });
}
