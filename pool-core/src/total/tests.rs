//! Several keys under one budget: all transitions that meet there, in any order, against the invariants at the top of
//! `budget`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Waker;
use std::time::Duration;

use proptest::prelude::*;

use super::budget::{Budget, KeyId, Next};
use super::limits::OnFull;
use crate::config::{Config, MOST_SLOTS};
use crate::reason::CloseReason;
use crate::state::{
    Account, Dial, Effects, Grant, Lent, Pause, SlotId, State, Time, WaiterId, Wish,
};

type Tested = State<u64, &'static str>;
type Owed = Effects<u64, &'static str>;
type Pick = prop::sample::Index;

#[derive(Clone, Debug)]
enum Op {
    CheckOut(Pick),
    Request(Pick, Option<u8>),
    Try(Pick),
    Collect(Pick),
    CollectDead(Pick),
    Leave(Pick),
    CheckIn(Pick),
    Discard(Pick),
    Detach(Pick),
    Connected(Pick),
    Failed(Pick, bool),
    PauseOver(Pick),
    Closed(Pick),
    Keep(Pick, bool),
    Expire(Pick),
    Close(Pick),
    Pass(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Pick>;
    prop_oneof![
        4 => pick().prop_map(Op::CheckOut),
        12 => (pick(), prop::option::of(any::<u8>())).prop_map(|(key, limit)| Op::Request(key, limit)),
        2 => pick().prop_map(Op::Try),
        8 => pick().prop_map(Op::Collect),
        2 => pick().prop_map(Op::CollectDead),
        4 => pick().prop_map(Op::Leave),
        9 => pick().prop_map(Op::CheckIn),
        3 => pick().prop_map(Op::Discard),
        1 => pick().prop_map(Op::Detach),
        9 => pick().prop_map(Op::Connected),
        3 => (pick(), any::<bool>()).prop_map(|(which, permanent)| Op::Failed(which, permanent)),
        2 => pick().prop_map(Op::PauseOver),
        5 => pick().prop_map(Op::Closed),
        1 => (pick(), any::<bool>()).prop_map(|(key, keep)| Op::Keep(key, keep)),
        2 => pick().prop_map(Op::Expire),
        1 => (pick(), prop::bool::weighted(0.1)).prop_map(|(key, close)| match close {
            true => Op::Close(key),
            false => Op::Expire(key),
        }),
        5 => (0..300_u16).prop_map(Op::Pass),
    ]
}

fn on_full() -> impl Strategy<Value = OnFull> {
    prop_oneof![
        3 => Just(OnFull::Wait),
        1 => Just(OnFull::Fail),
        1 => Just(OnFull::Overflow),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (1..4_usize, 0..3_usize, 1..3_usize, any::<bool>()).prop_map(
        |(max_size, min_idle, max_connecting, spare)| Config {
            max_size,
            // Most keys keep none.
            min_idle: if spare { min_idle.min(max_size) } else { 0 },
            max_connecting,
            idle_timeout: Some(Duration::from_millis(500)),
            max_lifetime: None,
            ..Config::default()
        },
    )
}

/// Something that belongs to a key.
struct Of<X> {
    key: usize,
    it: X,
}

/// What is somewhere else than in the states and the budget.
struct World {
    max_total: usize,
    on_full: OnFull,
    configs: Vec<Config>,
    states: Vec<Tested>,
    budget: Budget,
    now: Time,
    callers: Vec<Of<WaiterId>>,
    out: Vec<Of<Lent<u64>>>,
    dials: Vec<Of<Dial>>,
    /// With those that give way.
    closing: Vec<Of<(Lent<u64>, bool)>>,
    pauses: Vec<Of<Pause>>,
}

fn pick<X>(from: &mut Vec<X>, which: Pick) -> Option<X> {
    (!from.is_empty()).then(|| from.swap_remove(which.index(from.len())))
}

fn id(key: usize) -> KeyId {
    KeyId {
        hash: 0,
        serial: key as u64,
    }
}

impl World {
    fn new(max_total: usize, on_full: OnFull, configs: Vec<Config>) -> Self {
        let arrivals: Arc<AtomicU64> = Arc::default();
        let configs: Vec<Config> = configs
            .into_iter()
            .map(|config| on_full.fill(config))
            .collect();
        let state = |config: &Config| {
            let mut state = State::new(config, Vec::new());
            state.join(&arrivals);
            state
        };
        let mut world = Self {
            max_total,
            on_full,
            states: configs.iter().map(state).collect(),
            configs,
            budget: Budget::new(max_total, on_full),
            now: Time::START,
            callers: Vec::new(),
            out: Vec::new(),
            dials: Vec::new(),
            closing: Vec::new(),
            pauses: Vec::new(),
        };
        for key in 0..world.states.len() {
            world.step(key, |state, now, effects| state.expire(now, effects));
        }
        world
    }

    /// One change of a key, and what it means for the others: as `Shared::conclude` and `Member::settle`.
    fn step<R>(&mut self, key: usize, change: impl FnOnce(&mut Tested, Time, &mut Owed) -> R) -> R {
        let mut effects = Effects::new();
        let state = &mut self.states[key];
        let answer = change(state, self.now, &mut effects);
        while self.budget.is_pressed()
            && state.idle_since().is_some()
            && self.budget.claim(None, self.now)
        {
            state.give_way(&mut effects);
        }
        if let Some(account) = state.news(self.now) {
            self.budget.report(id(key), account);
        }
        self.perform(key, effects);
        if self.budget.has_next() {
            self.settle();
        }
        answer
    }

    /// As `Ledger::settle`.
    fn settle(&mut self) {
        loop {
            let next = self.budget.next();
            match next {
                Next::Dial(key) => {
                    self.assert_first(key);
                    self.visit(key, |state, effects| state.admit(effects.0, effects.1));
                }
                Next::Refuse(key) => {
                    self.visit(key, |state, effects| state.refuse_newest(effects.1))
                }
                Next::MakeRoom => self.make_room(),
                Next::Nothing => return assert!(!self.budget.has_next()),
            }
        }
    }

    fn visit(&mut self, id: KeyId, change: impl FnOnce(&mut Tested, (Time, &mut Owed))) {
        let (key, mut effects) = (id.serial as usize, Effects::new());
        let state = &mut self.states[key];
        change(state, (self.now, &mut effects));
        let account = state.tell(self.now);
        self.budget.report(id, account);
        self.perform(key, effects);
    }

    /// Whoever is served has waited longest of all who could be.
    fn assert_first(&mut self, id: KeyId) {
        let arrivals = self.states.iter().map(|state| state.told().wish);
        let arrivals: Vec<Option<u64>> =
            arrivals.map(|wish| wish.map(|wish| wish.arrival)).collect();
        let first = arrivals.iter().flatten().min();
        assert_eq!(
            arrivals[id.serial as usize].as_ref(),
            first,
            "overtaken: {arrivals:?}"
        );
    }

    fn make_room(&mut self) {
        loop {
            let idle = self.states.iter().enumerate();
            let oldest = idle
                .filter_map(|(key, state)| Some((state.idle_since()?, key)))
                .min();
            let Some((_, key)) = oldest else { return };
            if !self.budget.claim(None, self.now) {
                return;
            }
            let mut effects = Effects::new();
            self.states[key].give_way(&mut effects);
            self.perform(key, effects);
        }
    }

    fn perform(&mut self, key: usize, effects: Owed) {
        self.dials
            .extend(effects.dial.into_iter().map(|it| Of { key, it }));
        self.pauses
            .extend(effects.pause.into_iter().map(|it| Of { key, it }));
        for (lent, reason) in effects.close {
            let gives_way = reason == CloseReason::GaveWay;
            self.closing.push(Of {
                key,
                it: (lent, gives_way),
            });
        }
    }

    fn request(&mut self, key: usize, former: Option<WaiterId>, deadline: Time) {
        let waker = Waker::noop().clone();
        let answer = self.step(key, |state, now, effects| {
            state.request(former, former.is_some(), deadline, waker, now, effects)
        });
        match answer {
            Ok(it) => self.callers.push(Of { key, it }),
            Err(Grant::Connection(it)) => self.out.push(Of { key, it }),
            Err(_) => {}
        }
    }

    fn collect(&mut self, which: Pick) -> Option<(Of<WaiterId>, Lent<u64>)> {
        let caller = pick(&mut self.callers, which)?;
        match self.states[caller.key].collect(caller.it, Waker::noop()) {
            Err(_) => self.callers.push(caller),
            Ok(Grant::Connection(lent)) => return Some((caller, lent)),
            Ok(_) => {}
        }
        None
    }

    fn give_up(&mut self, Of { key, it }: Of<Lent<u64>>, reason: CloseReason) {
        self.states[key].discard(it.slot, reason);
        let gives_way = reason == CloseReason::GaveWay;
        self.closing.push(Of {
            key,
            it: (it, gives_way),
        });
    }

    /// As `Lease::make_available`.
    fn give_back(&mut self, lent: Of<Lent<u64>>) {
        let Of {
            key,
            it: Lent { slot, value },
        } = lent;
        let own = self.states[key].first_arrival();
        if self.budget.is_pressed() && self.budget.claim(own, self.now) {
            let lent = Of {
                key,
                it: Lent { slot, value },
            };
            return self.give_up(lent, CloseReason::GaveWay);
        }
        let mut value = Some(value);
        let home = self.states[key].check_in(slot, &mut value, self.now);
        if home.is_none() {
            let value = value.expect("it was left");
            self.step(key, |state, now, effects| {
                state.give_back(slot, value, None, now, effects)
            });
        }
    }

    fn closed(
        &mut self,
        Of {
            key,
            it: (lent, gave_way),
        }: Of<(Lent<u64>, bool)>,
    ) {
        self.step(key, |state, now, effects| {
            state.closed(lent.slot, now, effects)
        });
        if gave_way {
            self.budget.gave_way();
            if self.budget.has_next() {
                self.settle();
            }
        }
    }

    fn failed(&mut self, Of { key, it }: Of<Dial>, permanent: bool) {
        self.step(key, |state, now, effects| {
            state.failed(it.slot, "refused", permanent, now, 0, effects)
        });
    }

    fn apply(&mut self, op: Op) {
        let keys = self.states.len();
        match op {
            Op::CheckOut(key) => {
                let key = key.index(keys);
                let taken = self.states[key].check_out(self.now);
                self.out.extend(taken.map(|it| Of { key, it }));
            }
            Op::Request(key, limit) => {
                let deadline = limit.map_or(Time::NEVER, |ms| {
                    self.now.after(Duration::from_millis(ms.into()))
                });
                self.request(key.index(keys), None, deadline);
            }
            Op::Try(key) => {
                let key = key.index(keys);
                let taken = self.step(key, |state, now, effects| {
                    let taken = state.take(now, effects);
                    if taken.is_none() {
                        state.prepare_one(now, effects);
                    }
                    taken
                });
                self.step(key, |state, _, _| state.unprepare());
                self.out.extend(taken.map(|it| Of { key, it }));
            }
            Op::Collect(which) => {
                if let Some((caller, it)) = self.collect(which) {
                    self.out.push(Of {
                        key: caller.key,
                        it,
                    });
                }
            }
            Op::CollectDead(which) => {
                if let Some((caller, it)) = self.collect(which) {
                    self.request(caller.key, Some(caller.it), Time::NEVER);
                    self.give_up(
                        Of {
                            key: caller.key,
                            it,
                        },
                        CloseReason::Dropped,
                    );
                }
            }
            Op::Leave(which) => {
                if let Some(Of { key, it }) = pick(&mut self.callers, which) {
                    self.step(key, |state, now, effects| state.leave(it, now, effects));
                }
            }
            Op::CheckIn(which) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.give_back(lent);
                }
            }
            Op::Discard(which) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.give_up(lent, CloseReason::Discarded);
                }
            }
            Op::Detach(which) => {
                if let Some(Of { key, it }) = pick(&mut self.out, which) {
                    self.step(key, |state, now, effects| {
                        state.detach(it.slot, now, effects)
                    });
                }
            }
            Op::Connected(which) => {
                if let Some(Of { key, it }) = pick(&mut self.dials, which) {
                    self.step(key, |state, now, effects| {
                        state.connected(it.slot, it.id, now, 0, effects)
                    });
                }
            }
            Op::Failed(which, permanent) => {
                if let Some(dial) = pick(&mut self.dials, which) {
                    self.failed(dial, permanent);
                }
            }
            Op::PauseOver(which) => {
                if let Some(Of { key, it }) = pick(&mut self.pauses, which) {
                    self.step(key, |state, now, effects| {
                        state.pause_over(&it, now, effects)
                    });
                }
            }
            Op::Closed(which) => {
                if let Some(closing) = pick(&mut self.closing, which) {
                    self.closed(closing);
                }
            }
            Op::Keep(key, keep) => {
                let key = key.index(keys);
                let (min_idle, max_idle) = match keep {
                    true => (self.configs[key].min_idle, self.configs[key].max_idle),
                    false => (0, Some(0)),
                };
                self.step(key, |state, now, effects| {
                    state.set_max_idle(max_idle.unwrap_or(usize::MAX), now, effects);
                    state.set_min_idle(min_idle, now, effects);
                });
            }
            Op::Expire(key) => {
                self.step(key.index(keys), |state, now, effects| {
                    state.expire(now, effects)
                });
            }
            Op::Close(key) => self.close(key.index(keys)),
            Op::Pass(ms) => self.now = self.now.after(Duration::from_millis(ms.into())),
        }
    }

    /// As `Shared::close`, upon which the dials are dropped.
    fn close(&mut self, key: usize) {
        self.step(key, |state, _, effects| state.close(effects));
        let (dropped, kept) = std::mem::take(&mut self.dials)
            .into_iter()
            .partition(|dial| dial.key == key);
        self.dials = kept;
        let dropped: Vec<Of<Dial>> = dropped;
        for dial in dropped {
            self.step(key, |state, _, effects| {
                state.abandoned(dial.it.slot, effects)
            });
        }
    }

    fn assert_invariants(&mut self) {
        // A pause may be over by the time without anybody knowing yet.
        let accounts: Vec<Account> = self.states.iter().map(|state| state.told()).collect();
        let counts: Vec<_> = self.states.iter().map(|state| state.counts()).collect();
        let held: usize = accounts.iter().map(|account| account.held).sum();
        assert_eq!(held, self.budget.held());
        for ((account, counts), config) in accounts.iter().zip(&counts).zip(&self.configs) {
            let there = counts.idle + counts.in_use + counts.connecting + counts.closing;
            assert_eq!(there, account.held);
            assert!(there <= config.max_size && counts.connecting <= config.max_connecting);
            assert!(
                counts.waiting == 0 || counts.idle == 0,
                "somebody waits beside an idle one"
            );
        }
        let idle: usize = counts.iter().map(|counts| counts.idle).sum();
        let giving_way = self.closing.iter().filter(|closing| closing.it.1).count();
        assert_eq!(giving_way, self.budget.giving_way());
        let wishes: Vec<Wish> = accounts.iter().filter_map(|account| account.wish).collect();
        let callers: usize = wishes.iter().map(|wish| wish.callers).sum();
        if self.on_full == OnFull::Overflow {
            assert_eq!(callers, 0, "somebody waits who should have been given one");
            let kept = held - giving_way.min(held);
            assert!(
                idle == 0 || kept <= self.max_total,
                "more are kept than may be"
            );
            return;
        }
        assert!(held <= self.max_total);
        if held < self.max_total {
            assert_eq!(wishes, [], "somebody wants to dial while there is room");
        }
        if callers > giving_way {
            assert_eq!(idle, 0, "a connection lies idle that could have given way");
            assert_ne!(
                self.on_full,
                OnFull::Fail,
                "somebody waits who should have been told"
            );
        }
    }

    /// Everybody goes home; then there is nothing.
    fn finish(mut self) {
        while let Some(Of { key, it }) = self.callers.pop() {
            self.step(key, |state, now, effects| state.leave(it, now, effects));
        }
        for key in 0..self.states.len() {
            self.step(key, |state, now, effects| {
                state.set_max_idle(0, now, effects);
                state.set_min_idle(0, now, effects);
            });
        }
        loop {
            if let Some(dial) = self.dials.pop() {
                self.failed(dial, false);
            } else if let Some(lent) = self.out.pop() {
                self.give_back(lent);
            } else if let Some(closing) = self.closing.pop() {
                self.closed(closing);
            } else if let Some(Of { key, it }) = self.pauses.pop() {
                self.step(key, |state, now, effects| {
                    state.pause_over(&it, now, effects)
                });
            } else {
                break;
            }
            self.assert_invariants();
        }
        for state in &mut self.states {
            assert!(state.is_vacant());
            assert_eq!(state.tell(self.now), Account::default());
        }
        self.budget.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_total_holds_the_oldest_is_served_first_and_nothing_is_left(
        max_total in 1..6_usize,
        on_full in on_full(),
        configs in prop::collection::vec(config(), 1..5),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut world = World::new(max_total, on_full, configs);
        world.assert_invariants();
        for op in ops {
            world.apply(op);
            world.assert_invariants();
        }
        world.finish();
    }
}

fn world(max_total: usize, keys: usize) -> World {
    World::new(max_total, OnFull::Wait, vec![Config::default(); keys])
}

impl World {
    fn queue(&mut self, key: usize) {
        self.request(key, None, Time::NEVER);
    }

    fn dial(&mut self) -> Of<Dial> {
        assert_eq!(self.dials.len(), 1);
        self.dials.pop().expect("there is one")
    }

    fn connect(&mut self) {
        let Of { key, it } = self.dial();
        self.step(key, |state, now, effects| {
            state.connected(it.slot, it.id, now, 0, effects)
        });
    }
}

#[test]
fn nothing_gives_way_for_a_connection_for_which_nobody_waits() {
    let config = Config {
        min_idle: 2,
        ..Config::default()
    };
    let mut world = World::new(2, OnFull::Wait, vec![config; 2]);
    while let Some(Of { key, it }) = world.dials.pop() {
        world.step(key, |state, now, effects| {
            state.connected(it.slot, it.id, now, 0, effects)
        });
        world.assert_invariants();
    }
    assert_eq!(world.budget.held(), 2);
    assert!(world.closing.is_empty());
}

#[test]
fn a_key_that_may_not_dial_is_not_in_the_order() {
    let config = Config {
        max_connecting: 1,
        ..Config::default()
    };
    let mut world = World::new(2, OnFull::Wait, vec![config; 2]);
    for _ in 0..3 {
        world.queue(0);
    }
    world.queue(1);
    let served: Vec<usize> = world.dials.iter().map(|dial| dial.key).collect();
    assert_eq!(served, [0, 1]);
    world.assert_invariants();
}

#[test]
fn the_place_of_the_caller_counts_and_not_that_of_his_key() {
    let mut world = world(1, 3);
    for key in [0, 1, 2, 1, 0] {
        world.queue(key);
    }
    let mut served = Vec::new();
    for _ in 0..5 {
        let dial = world.dial();
        served.push(dial.key);
        // Refused, and nobody waits out the pause: his key is out of the order now.
        let caller = world
            .callers
            .iter()
            .position(|caller| caller.key == dial.key);
        let caller = world.callers.remove(caller.expect("he waits"));
        world.step(caller.key, |state, now, effects| {
            state.leave(caller.it, now, effects)
        });
        let Of { key, it } = dial;
        world.step(key, |state, _, effects| state.abandoned(it.slot, effects));
    }
    assert_eq!(served, [0, 1, 2, 1, 0]);
}

#[test]
fn one_that_leaves_while_others_of_his_key_wait_does_not_give_them_his_place() {
    let mut world = world(1, 2);
    world.queue(0);
    // The first of the second key leaves; the next of it came after one of the first.
    for key in [1, 0, 1] {
        world.queue(key);
    }
    let leaving = world.callers.remove(1);
    world.step(1, |state, now, effects| {
        state.leave(leaving.it, now, effects)
    });
    world.connect();
    let first = world.callers.remove(0);
    let Ok(Grant::Connection(it)) = world.states[0].collect(first.it, Waker::noop()) else {
        panic!("he was served");
    };
    world.give_up(Of { key: 0, it }, CloseReason::Discarded);
    let closing = world.closing.pop().expect("there is one");
    world.closed(closing);
    assert_eq!(world.dial().key, 0);
}

#[test]
fn connections_are_taken_from_waiting_callers_of_their_own_key_no_faster_than_is_worth_it() {
    let mut budget = Budget::new(2, OnFull::Wait);
    let wants = |arrival| Account {
        held: 1,
        wish: Some(Wish {
            arrival,
            callers: 1,
        }),
    };
    budget.report(id(0), wants(5));
    budget.report(id(1), wants(7));
    assert_eq!(budget.next(), Next::MakeRoom);
    let now = Time::START;
    assert!(!budget.claim(Some(4), now), "he came first");
    assert!(budget.claim(Some(6), now));
    assert!(!budget.claim(Some(6), now), "so soon after the last");
    assert!(budget.claim(None, now), "nobody waits for that one");
    budget.gave_way();
    budget.gave_way();
    assert_eq!(budget.next(), Next::MakeRoom);
    let half_a_second = now.after(Duration::from_millis(500));
    assert!(budget.claim(Some(6), half_a_second));
}

#[test]
fn slots_are_numbered_as_far_as_they_may_overflow() {
    let filled = OnFull::Overflow.fill(Config::default());
    assert_eq!((filled.max_size, filled.max_idle), (MOST_SLOTS, Some(10)));
    assert!(filled.validate().is_ok());
    let _: fn(SlotId) = drop;
}
