//! The whole vocabulary of transitions, in any order, against the invariants at the top of `state`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::reap::BATCH;
use super::slots::{Phase, Slot, SlotId};
use super::*;

type Connection = u64;
type Tested = State<Connection, &'static str>;

/// The step a random index picks its operand with.
type Pick = prop::sample::Index;

#[derive(Clone, Debug)]
enum Op {
    CheckOut,
    Take,
    Prepare,
    Request(Option<u8>),
    Collect(Pick),
    CollectDead(Pick),
    Leave(Pick),
    Cancel(Pick),
    CheckIn(Pick, Option<u8>),
    Renew(Pick),
    Renewed(Pick),
    RenewalFailed(Pick, bool),
    EndRenewal(Pick),
    Discard(Pick),
    Detach(Pick),
    DropUnused,
    Inspect(Pick, bool),
    Connected(Pick),
    Failed(Pick, bool),
    Abandoned(Pick),
    PauseOver(Pick),
    Closed(Pick),
    Pass(u16),
    JumpBack(u16),
    Expire,
    Dismiss,
    Checked(Pick, bool),
    Resize(u8),
    SetMinIdle(u8),
    SetIdleTimeout(Option<u16>),
    SetMaxLifetime(Option<u16>),
    SetMaxIdle(u8),
    Pause,
    Resume,
    Retire(u8),
    Clear(u8),
    Adopt,
    WarmUp(u8),
    Close,
}

fn jumping_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (0..10_000_u16).prop_map(Op::JumpBack),
        1 => (0..10_000_u16).prop_map(Op::Pass),
        10 => op(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Pick>;
    prop_oneof![
        6 => Just(Op::CheckOut),
        2 => Just(Op::Take),
        1 => Just(Op::Prepare),
        8 => prop::option::of(any::<u8>()).prop_map(Op::Request),
        8 => pick().prop_map(Op::Collect),
        2 => pick().prop_map(Op::CollectDead),
        2 => pick().prop_map(Op::Leave),
        2 => pick().prop_map(Op::Cancel),
        7 => pick().prop_map(|which| Op::CheckIn(which, None)),
        2 => (pick(), prop::option::of(any::<u8>())).prop_map(|(which, limit)| Op::CheckIn(which, limit)),
        2 => pick().prop_map(Op::Discard),
        2 => pick().prop_map(Op::Renew),
        3 => pick().prop_map(Op::Renewed),
        1 => (pick(), any::<bool>()).prop_map(|(which, permanent)| Op::RenewalFailed(which, permanent)),
        1 => pick().prop_map(Op::EndRenewal),
        1 => pick().prop_map(Op::Detach),
        1 => Just(Op::DropUnused),
        2 => (pick(), any::<bool>()).prop_map(|(which, alive)| Op::Inspect(which, alive)),
        9 => pick().prop_map(Op::Connected),
        2 => (pick(), any::<bool>()).prop_map(|(which, permanent)| Op::Failed(which, permanent)),
        1 => pick().prop_map(Op::Abandoned),
        2 => pick().prop_map(Op::PauseOver),
        4 => pick().prop_map(Op::Closed),
        6 => (0..300_u16).prop_map(Op::Pass),
        3 => Just(Op::Expire),
        3 => Just(Op::Dismiss),
        4 => (pick(), any::<bool>()).prop_map(|(which, good)| Op::Checked(which, good)),
        2 => (0..8_u8).prop_map(Op::Resize),
        1 => (0..4_u8).prop_map(Op::SetMinIdle),
        1 => prop::option::of(1..400_u16).prop_map(Op::SetIdleTimeout),
        1 => prop::option::of(1..4_000_u16).prop_map(Op::SetMaxLifetime),
        1 => (0..6_u8).prop_map(Op::SetMaxIdle),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => (0..4_u8).prop_map(Op::Retire),
        1 => (0..4_u8).prop_map(Op::Clear),
        1 => Just(Op::Adopt),
        1 => (0..8_u8).prop_map(Op::WarmUp),
        1 => prop::bool::weighted(0.05).prop_map(|close| if close { Op::Close } else { Op::Expire }),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let millis =
        |range| prop::option::of(range).prop_map(|ms: Option<u64>| ms.map(Duration::from_millis));
    (
        1..6_usize,
        0..4_usize,
        1..4_usize,
        any::<bool>(),
        any::<bool>(),
        millis(1..400_u64),
        millis(1..900_u64),
        (
            prop::option::of(0..4_usize),
            prop::option::of(0..4_usize),
            prop::option::of(1..6_u32),
        ),
    )
        .prop_map(
            |(
                max_size,
                min_idle,
                max_connecting,
                fifo,
                fail,
                idle_timeout,
                max_lifetime,
                (max_idle, max_waiters, max_uses),
            )| Config {
                max_size,
                min_idle: min_idle.min(max_size).min(max_idle.unwrap_or(usize::MAX)),
                max_idle,
                max_waiters,
                max_uses,
                max_connecting,
                order: if fifo { Order::Fifo } else { Order::Lifo },
                on_connect_error: if fail {
                    OnConnectError::Fail
                } else {
                    OnConnectError::Wait
                },
                idle_timeout,
                max_lifetime,
                ..Config::default()
            },
        )
}

#[derive(Debug, Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Caller {
    place: WaiterId,
    deadline: Time,
    woken: Arc<Woken>,
}

/// The world around the state: everything that is somewhere else than in it.
struct World {
    config: Config,
    state: Tested,
    now: Time,
    callers: Vec<Caller>,
    out: Vec<Lent<Connection>>,
    /// Out of the idle set to be checked.
    checking: Vec<Lent<Connection>>,
    dials: Vec<Dial>,
    /// Dials for callers who have their slots already.
    renewing: Vec<Dial>,
    closing: Vec<Lent<Connection>>,
    made: BTreeSet<Connection>,
    gone: BTreeSet<Connection>,
    /// What somebody promised to wait out.
    pauses: Vec<Pause>,
    random: u64,
    max_size: usize,
    /// Slots taken after the last step, which a smaller pool may still have.
    used: usize,
    /// The clock went back, so that nothing is in the order of time any more.
    jumped: bool,
    is_closed: bool,
}

fn pick<T>(from: &mut Vec<T>, which: Pick) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which.index(from.len())))
}

impl World {
    fn new(config: Config) -> Self {
        Self::checked(config, Vec::new())
    }

    /// With checks that run while a connection is idle, every so many milliseconds.
    fn checked(config: Config, periods: Vec<u64>) -> Self {
        let nanos = periods.into_iter().map(|ms| ms * 1_000_000).collect();
        let state = State::new(&config, nanos);
        Self {
            max_size: config.max_size,
            used: 0,
            jumped: false,
            is_closed: false,
            checking: Vec::new(),
            renewing: Vec::new(),
            config,
            state,
            now: Time::FIRST,
            callers: Vec::new(),
            out: Vec::new(),
            dials: Vec::new(),
            closing: Vec::new(),
            made: BTreeSet::new(),
            gone: BTreeSet::new(),
            pauses: Vec::new(),
            random: 0,
        }
    }

    fn step<R>(
        &mut self,
        change: impl FnOnce(&mut Tested, Time, &mut Effects<Connection, &'static str>) -> R,
    ) -> R {
        let mut effects = Effects::new();
        let queue = self.state.waiters.queue();
        let answer = change(&mut self.state, self.now, &mut effects);
        let connections = effects.wake.first.iter().count() + effects.wake.rest.len();
        self.assert_first_come_first_served(&queue, connections);
        for waker in effects.wake {
            waker.wake();
        }
        self.dials.extend(effects.dial);
        self.closing
            .extend(effects.close.into_iter().map(|(lent, _)| lent));
        self.checking
            .extend(effects.check.into_iter().map(|(lent, checks)| {
                assert_ne!(checks, 0, "taken out for nothing");
                lent
            }));
        self.pauses.extend(effects.pause);
        answer
    }

    /// Those who left the queue are the first of it, whatever they were told, but for those whose time is over.
    fn assert_first_come_first_served(&mut self, before: &[(u64, Time)], woken: usize) {
        let after: BTreeSet<u64> = self
            .state
            .waiters
            .queue()
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect();
        // Of the late ones somebody may have left by himself.
        let (patient, late): (Vec<_>, Vec<_>) = before
            .iter()
            .partition(|&&(_, deadline)| deadline > self.now);
        let expired = late.iter().filter(|(late, _)| !after.contains(late));
        let told = patient.iter().take(woken.saturating_sub(expired.count()));
        for (ticket, _) in told {
            assert!(!after.contains(ticket), "{ticket} was overtaken");
        }
    }

    fn request(&mut self, former: Option<WaiterId>, deadline: Time) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        match self.request_as(former, deadline, waker) {
            Ok(place) => self.callers.push(Caller {
                place,
                deadline,
                woken,
            }),
            Err(Grant::Connection(lent)) => self.out.push(lent),
            Err(Grant::Failed(..) | Grant::Refused | Grant::Closed) => {}
            Err(Grant::Expired(_)) => unreachable!("nobody expires before he queues"),
        }
    }

    /// As `Shared::request`.
    fn request_as(
        &mut self,
        former: Option<WaiterId>,
        deadline: Time,
        mut waker: Waker,
    ) -> Result<WaiterId, Grant<Connection, &'static str>> {
        if former.is_none() {
            match self.state.queue(deadline, waker, self.now) {
                Ok(place) => return Ok(place),
                Err(own) => waker = own,
            }
        }
        self.step(|state, now, effects| {
            state.request(former, former.is_some(), deadline, waker, now, effects)
        })
    }

    fn collect(&mut self, which: Pick) -> Option<(Caller, Lent<Connection>)> {
        let caller = pick(&mut self.callers, which)?;
        match self.state.collect(caller.place, Waker::noop()) {
            Err(_) => {
                assert_eq!(
                    caller.woken.0.load(Ordering::Relaxed),
                    0,
                    "woken for nothing"
                );
                self.callers.push(caller);
            }
            Ok(grant) => {
                assert_eq!(
                    caller.woken.0.load(Ordering::Relaxed),
                    1,
                    "granted something and not woken, or twice"
                );
                match grant {
                    Grant::Connection(lent) => return Some((caller, lent)),
                    Grant::Expired(_) => assert!(self.jumped || caller.deadline <= self.now),
                    Grant::Failed(..) | Grant::Closed => {}
                    Grant::Refused => unreachable!("who is refused does not queue"),
                }
            }
        }
        None
    }

    fn give_up(&mut self, lent: Lent<Connection>) {
        self.state.discard(lent.slot, CloseReason::Discarded);
        self.closing.push(lent);
    }

    /// Its socket is closed at once.
    fn renew(&mut self, lent: Lent<Connection>) {
        let slot = lent.slot;
        self.state.discard(slot, CloseReason::Discarded);
        match self.step(|state, _, _| state.begin_renewal(slot)) {
            None => self.closing.push(lent),
            Some(id) => {
                assert!(self.gone.insert(lent.value), "a connection is closed once");
                self.renewing.push(Dial { slot, id });
            }
        }
    }

    fn renewed(&mut self, Dial { slot, id }: Dial) {
        assert!(self.made.insert(id), "connection numbers are unique");
        self.step(|state, now, effects| {
            state.renewed(slot, now, id, effects);
            state.received(slot, now);
        });
        self.out.push(Lent { slot, value: id });
    }

    fn give_back(&mut self, lent: Lent<Connection>) {
        self.give_back_with(lent, None);
    }

    fn give_back_with(&mut self, lent: Lent<Connection>, idle_limit: Option<Duration>) {
        let Lent { slot, value } = lent;
        let mut value = Some(value);
        let queue = self.state.waiters.queue();
        let home = match idle_limit {
            None => self.state.check_in(slot, &mut value, self.now),
            Some(_) => None,
        };
        match home {
            Some(CheckedIn::Idle) => assert!(queue.is_empty(), "somebody waits beside it"),
            Some(CheckedIn::Granted(waker)) => {
                self.assert_first_come_first_served(&queue, 1);
                waker.wake();
            }
            None => {
                let value = value.expect("it was left");
                self.step(|state, now, effects| {
                    state.give_back(slot, value, idle_limit, now, effects);
                });
            }
        }
    }

    /// As the maintenance task does, which is there again when it was told to be.
    fn dismiss(&mut self) {
        let mut patient = self.state.waiters.queue();
        patient.retain(|&(_, deadline)| deadline > self.now);
        let mut effects = Effects::new();
        while self.state.dismiss(self.now, &mut effects) <= self.now {}
        assert_eq!(self.state.waiters.queue(), patient);
        for waker in effects.wake {
            waker.wake();
        }
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.step(|state, _, effects| state.close(effects));
    }

    fn connected(&mut self, dial: Dial) {
        assert!(self.made.insert(dial.id), "connection numbers are unique");
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = self.random;
        self.step(|state, now, effects| state.connected(dial.slot, dial.id, now, random, effects));
    }

    fn fail(&mut self, dial: Dial, permanent: bool) {
        self.step(|state, now, effects| {
            state.failed(dial.slot, "refused", permanent, now, 0, effects)
        });
    }

    fn pause_over(&mut self) {
        let pause = self.pauses.pop().expect("somebody was told to wait");
        self.now = self.now.after(pause.wait);
        self.step(|state, now, effects| state.pause_over(&pause, now, effects));
    }

    fn closed(&mut self, lent: Lent<Connection>) {
        assert!(self.gone.insert(lent.value), "a connection is closed once");
        self.step(|state, now, effects| state.closed(lent.slot, now, effects));
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::CheckOut => {
                if let Some(lent) = self.state.check_out(self.now) {
                    self.out.push(lent);
                }
            }
            Op::Take => {
                let taken = self.step(|state, now, effects| state.take(now, effects));
                self.out.extend(taken);
            }
            Op::Prepare => self.step(|state, now, effects| state.prepare_one(now, effects)),
            Op::Request(limit) => {
                let deadline = limit.map_or(Time::NEVER, |ms| {
                    self.now.after(Duration::from_millis(ms.into()))
                });
                self.request(None, deadline);
            }
            Op::Collect(which) => {
                if let Some((_, lent)) = self.collect(which) {
                    self.out.push(lent);
                }
            }
            Op::CollectDead(which) => {
                if let Some((caller, lent)) = self.collect(which) {
                    self.give_up(lent);
                    self.request(Some(caller.place), caller.deadline);
                }
            }
            Op::Leave(which) => {
                if let Some(caller) = pick(&mut self.callers, which) {
                    let place = caller.place;
                    self.step(|state, now, effects| state.leave(place, now, effects));
                }
            }
            Op::Cancel(which) => {
                if let Some(caller) = pick(&mut self.callers, which) {
                    let place = caller.place;
                    self.step(|state, now, effects| state.cancel(place, now, effects));
                }
            }
            Op::CheckIn(which, limit) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.give_back_with(lent, limit.map(|ms| Duration::from_millis(ms.into())));
                }
            }
            Op::Renew(which) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.renew(lent);
                }
            }
            Op::Renewed(which) => {
                if let Some(dial) = pick(&mut self.renewing, which) {
                    self.renewed(dial);
                }
            }
            Op::RenewalFailed(which, permanent) => {
                if let Some(Dial { slot, .. }) = pick(&mut self.renewing, which) {
                    self.step(|state, now, effects| {
                        state.renewal_failed(slot, "refused", permanent, now, 0, effects);
                    });
                }
            }
            Op::EndRenewal(which) => {
                if let Some(Dial { slot, .. }) = pick(&mut self.renewing, which) {
                    self.step(|state, now, effects| state.end_renewal(slot, now, effects));
                }
            }
            Op::Discard(which) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.give_up(lent);
                }
            }
            Op::Detach(which) => {
                if let Some(lent) = pick(&mut self.out, which) {
                    self.gone.insert(lent.value);
                    self.step(|state, now, effects| state.detach(lent.slot, now, effects));
                }
            }
            Op::DropUnused => {
                self.step(|state, now, effects| state.dropped_unused("dropped", now, 0, effects));
            }
            Op::Inspect(which, alive) => {
                let idle: Vec<(SlotId, u64)> = self
                    .state
                    .slots
                    .all()
                    .filter(|(_, slot)| slot.phase == Phase::Idle)
                    .map(|(id, slot)| (id, slot.id))
                    .collect();
                if idle.is_empty() {
                    return;
                }
                let (slot, id) = idle[which.index(idle.len())];
                assert!(
                    self.state.inspect(slot, Some(id + 1), self.now).is_none(),
                    "a reused slot is not the one that is meant"
                );
                let value = self
                    .state
                    .inspect(slot, Some(id).filter(|_| alive), self.now)
                    .expect("it is idle");
                if alive {
                    self.step(|state, now, effects| state.put_back(slot, value, now, effects));
                } else {
                    self.give_up(Lent { slot, value });
                }
            }
            Op::Connected(which) => {
                if let Some(dial) = pick(&mut self.dials, which) {
                    self.connected(dial);
                }
            }
            Op::Failed(which, permanent) => {
                if let Some(dial) = pick(&mut self.dials, which) {
                    self.fail(dial, permanent);
                }
            }
            Op::Abandoned(which) => {
                if let Some(dial) = pick(&mut self.dials, which) {
                    self.step(|state, _, effects| state.abandoned(dial.slot, effects));
                    // That is what the shell does then.
                    self.close();
                }
            }
            Op::PauseOver(which) => {
                if let Some(pause) = pick(&mut self.pauses, which) {
                    self.step(|state, now, effects| state.pause_over(&pause, now, effects));
                }
            }
            Op::Closed(which) => {
                if let Some(lent) = pick(&mut self.closing, which) {
                    self.closed(lent);
                }
            }
            Op::Pass(ms) => self.now = self.now.after(Duration::from_millis(ms.into())),
            Op::Expire => {
                self.step(|state, now, effects| state.expire(now, effects));
            }
            Op::Dismiss => self.dismiss(),
            Op::JumpBack(ms) => {
                let now = self.now.since(Time::FIRST);
                let back = Duration::from_millis(ms.into());
                self.now = Time::FIRST.after(now.saturating_sub(back));
                self.jumped = true;
            }
            Op::Checked(which, good) => {
                if let Some(lent) = pick(&mut self.checking, which) {
                    self.checked_one(lent, good);
                }
            }
            Op::Resize(size) => {
                self.max_size = size.into();
                self.step(|state, now, effects| state.resize(size.into(), now, effects));
            }
            Op::SetMinIdle(idle) => {
                self.step(|state, now, effects| state.set_min_idle(idle.into(), now, effects));
            }
            Op::SetIdleTimeout(ms) => {
                let timeout = ms.map(|ms| Duration::from_millis(ms.into()));
                self.step(|state, _, effects| state.set_idle_timeout(timeout, effects));
            }
            Op::SetMaxLifetime(ms) => {
                let most = ms.map(|ms| Duration::from_millis(ms.into()));
                self.step(|state, _, effects| state.set_max_lifetime(most, effects));
            }
            Op::SetMaxIdle(idle) => {
                self.config.max_idle = Some(idle.into());
                self.step(|state, now, effects| state.set_max_idle(idle.into(), now, effects));
            }
            Op::Pause => {
                self.state.pause();
            }
            Op::Resume => {
                self.step(|state, now, effects| state.resume(now, effects));
            }
            Op::Retire(back) => {
                let below = self.state.next_number().saturating_sub(back.into());
                self.step(|state, _, effects| state.retire(below, effects));
                let kept = |slot: &Slot<Connection>| {
                    slot.id < below
                        && matches!(slot.phase, Phase::Idle | Phase::InUse)
                        && slot.expires != Time::START
                };
                assert!(!self.state.slots.all().any(|(_, slot)| kept(slot)));
            }
            Op::Clear(most) => {
                self.step(|state, now, effects| state.clear_idle(most.into(), now, effects));
            }
            Op::Adopt => {
                let adopted = self.state.adopt();
                self.dials.extend(adopted);
            }
            Op::WarmUp(wanted) => {
                self.step(|state, now, effects| state.warm_up(wanted.into(), now, effects));
            }
            Op::Close => self.close(),
        }
    }

    fn checked_one(&mut self, lent: Lent<Connection>, good: bool) {
        let Lent { slot, value } = lent;
        match good {
            true => self.step(|state, now, effects| state.put_back(slot, value, now, effects)),
            false => self.give_up(Lent { slot, value }),
        }
    }

    fn assert_invariants(&mut self) {
        let state = &mut self.state;
        let queue = state.waiters.queue();
        let counts = state.counts();
        let phase = |wanted| {
            state
                .slots
                .all()
                .filter(|(_, slot)| slot.phase == wanted)
                .count()
        };
        assert_eq!(counts.idle, phase(Phase::Idle));
        assert_eq!(counts.in_use, phase(Phase::InUse));
        assert_eq!(
            counts.connecting,
            phase(Phase::Connecting) + phase(Phase::Renewing)
        );
        assert_eq!(counts.closing, phase(Phase::Closing));
        assert_eq!(counts.waiting, queue.len());
        let used = counts.idle + counts.in_use + counts.connecting + counts.closing;
        assert_eq!(used, state.slots.used());
        assert!(
            used <= self.max_size.max(self.used),
            "{used} of {} slots are taken, and were {}",
            self.max_size,
            self.used
        );
        self.used = used;
        assert_eq!(state.connecting, self.dials.len());
        assert_eq!(state.renewing, self.renewing.len());
        assert_eq!(counts.closing, self.closing.len());
        assert!(state.keepalive.running() <= self.checking.len() + self.closing.len());
        assert!(
            counts.waiting == 0 || counts.idle == 0 || counts.paused,
            "somebody waits beside an idle connection"
        );
        assert!(counts.idle <= self.config.max_idle.unwrap_or(usize::MAX));
        let totals = state.totals();
        assert_eq!(
            totals.connected,
            (counts.idle + counts.in_use) as u64
                + totals.closed.iter().sum::<u64>()
                + totals.detached,
            "the totals add up"
        );
        assert!(queue.is_sorted(), "the queue is in order of arrival");
        for &(_, deadline) in &queue {
            assert!(
                state.deadlines.next() <= deadline,
                "a timeout nobody would notice"
            );
        }
        for (_, slot) in state.slots.all() {
            assert_eq!(slot.taken().is_none(), slot.phase == Phase::Idle);
            if slot.phase == Phase::Idle {
                assert!(
                    state.next_due <= slot.expires,
                    "a lifetime nobody would notice"
                );
                assert!(
                    self.jumped || state.next_due <= state.idle_due(),
                    "an idle timeout nobody would notice"
                );
                assert!(
                    state.next_due <= state.next_check() || self.is_closed,
                    "a check nobody would make"
                );
            }
        }
        let lifetimes = state.lifetimes.all(&state.slots);
        assert!(lifetimes.is_sorted(), "a deadline changed in its place");
        let is_listed = |(_, slot): &(SlotId, &Slot<Connection>)| match slot.phase {
            Phase::Idle => slot.expires != Time::NEVER,
            // One that was due while it was in use is met when it comes home.
            Phase::InUse => (Time::FIRST..Time::NEVER).contains(&slot.expires),
            _ => false,
        };
        assert_eq!(
            lifetimes.len(),
            state.slots.all().filter(is_listed).count(),
            "who can expire is listed, and nobody else"
        );
        // A caller that nobody would ever serve: room and no dial under way, nor anybody who promised to start one.
        let room = used < self.max_size;
        if counts.waiting > 0 && room && state.connecting == 0 && !counts.closed && !counts.paused {
            let promised = self
                .pauses
                .iter()
                .any(|pause| state.outages.waits_for(pause));
            assert!(promised, "a waiter is forgotten");
        }
        let mut idle_since = Time::START;
        let mut next = state.idle.oldest();
        let mut listed = 0;
        while let Some(id) = next {
            let slot = state.slots.get(id);
            assert!(
                self.jumped || slot.idle_since >= idle_since,
                "the idle list is in order of age"
            );
            idle_since = slot.idle_since;
            listed += 1;
            next = (slot.newer != SlotId::NONE).then_some(slot.newer);
        }
        assert_eq!(listed, counts.idle);
    }

    /// Everything goes home; then nothing may be left.
    fn finish(mut self) {
        while !self.callers.is_empty()
            || !self.out.is_empty()
            || !self.checking.is_empty()
            || !self.dials.is_empty()
            || !self.renewing.is_empty()
            || !self.closing.is_empty()
        {
            while let Some(dial) = self.renewing.pop() {
                self.renewed(dial);
            }
            while let Some(dial) = self.dials.pop() {
                self.connected(dial);
            }
            while let Some(lent) = self.out.pop() {
                self.give_back(lent);
            }
            while let Some(lent) = self.checking.pop() {
                self.checked_one(lent, true);
            }
            while let Some(lent) = self.closing.pop() {
                self.closed(lent);
            }
            while let Some(caller) = self.callers.pop() {
                match self.state.collect(caller.place, Waker::noop()) {
                    Ok(Grant::Connection(lent)) => self.out.push(lent),
                    Ok(_) => {}
                    Err(_) => {
                        let place = caller.place;
                        self.step(|state, now, effects| state.leave(place, now, effects));
                    }
                }
            }
            self.assert_invariants();
        }
        self.close();
        while let Some(lent) = self.closing.pop() {
            self.closed(lent);
        }
        let empty = Counts {
            max_size: self.max_size,
            paused: self.state.paused,
            idle: 0,
            in_use: 0,
            connecting: 0,
            closing: 0,
            waiting: 0,
            closed: true,
        };
        assert_eq!(self.state.counts(), empty);
        assert_eq!(self.state.slots.used(), 0);
        assert_eq!(self.state.lifetimes.all(&self.state.slots), []);
        assert_eq!(self.state.keepalive.running(), 0);
        assert_eq!(self.state.next_check(), Time::NEVER);
        assert_eq!(self.state.aside, 0);
        assert_eq!(
            self.made, self.gone,
            "every connection made was closed or detached, once"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_transitions_keeps_the_invariants_and_ends_with_nothing(
        config in config(),
        periods in prop::collection::vec(20..400_u64, 0..3),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        live(World::checked(config, periods), ops);
    }

    #[test]
    fn a_clock_that_jumps_forward_or_back_loses_nothing(
        config in config(),
        periods in prop::collection::vec(20..400_u64, 0..3),
        ops in prop::collection::vec(jumping_op(), 1..120),
    ) {
        live(World::checked(config, periods), ops);
    }
}

fn live(mut world: World, ops: impl IntoIterator<Item = Op>) {
    world.step(|state, now, effects| state.expire(now, effects));
    world.assert_invariants();
    for op in ops {
        world.apply(op);
        world.assert_invariants();
    }
    world.finish();
}

#[test]
fn ten_thousand_steps_at_random_keep_the_invariants_and_end_with_nothing() {
    for seed in 0..8_u8 {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        let mut draw =
            |strategy: &BoxedStrategy<Op>| strategy.new_tree(&mut runner).unwrap().current();
        // A pool that is closed early would have little to show.
        let ops = op().prop_filter("close", |op| !matches!(op, Op::Close | Op::Abandoned(_)));
        let ops = ops.boxed();
        let steps: Vec<Op> = (0..10_000).map(|_| draw(&ops)).collect();
        let config = config().new_tree(&mut runner).unwrap().current();
        live(World::checked(config, vec![50, 300]), steps);
    }
}

fn world(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::default();
    change(&mut config);
    let mut world = World::new(config);
    world.step(|state, now, effects| state.expire(now, effects));
    world
}

impl World {
    fn advance(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    /// So many connections, idle, each a millisecond younger than the one before.
    fn fill(&mut self, wanted: usize) {
        for _ in 0..wanted {
            self.request(None, Time::NEVER);
        }
        while let Some(dial) = (!self.dials.is_empty()).then(|| self.dials.remove(0)) {
            self.connected(dial);
        }
        while let Some(caller) = self.callers.pop() {
            match self.state.collect(caller.place, Waker::noop()) {
                Ok(Grant::Connection(lent)) => self.out.push(lent),
                other => panic!("{other:?}"),
            }
        }
        self.out.sort_by_key(|lent| lent.value);
        for lent in std::mem::take(&mut self.out) {
            self.advance(1);
            self.give_back(lent);
        }
    }

    /// What the first in the queue was granted.
    fn collect_first(&mut self) -> (WaiterId, Lent<Connection>) {
        let first = self
            .callers
            .iter()
            .enumerate()
            .min_by_key(|(_, caller)| caller.place.ticket())
            .unwrap()
            .0;
        let caller = self.callers.remove(first);
        match self.state.collect(caller.place, Waker::noop()) {
            Ok(Grant::Connection(lent)) => (caller.place, lent),
            other => panic!("{other:?}"),
        }
    }

    fn checked_out(&mut self) -> Vec<Connection> {
        std::iter::from_fn(|| self.state.check_out(self.now).map(|lent| lent.value)).collect()
    }
}

#[test]
fn lifo_takes_the_newest_and_fifo_the_oldest() {
    let mut lifo = world(|config| config.order = Order::Lifo);
    lifo.fill(3);
    assert_eq!(lifo.checked_out(), [3, 2, 1]);
    let mut fifo = world(|config| config.order = Order::Fifo);
    fifo.fill(3);
    assert_eq!(fifo.checked_out(), [1, 2, 3]);
}

#[test]
fn an_inspected_connection_goes_back_to_where_it_was() {
    let mut world = world(|_| {});
    world.fill(4);
    let (slot, _) = world
        .state
        .slots
        .all()
        .find(|(_, slot)| slot.id == 2)
        .unwrap();
    let value = world.state.inspect(slot, Some(2), world.now).unwrap();
    world.step(|state, now, effects| state.put_back(slot, value, now, effects));
    assert_eq!(world.checked_out(), [4, 3, 2, 1]);
}

#[test]
fn idle_connections_are_reaped_from_the_oldest_on_and_down_to_min_idle() {
    let mut world = world(|config| {
        config.min_idle = 2;
        config.max_size = 5;
        config.idle_timeout = Some(Duration::from_millis(100));
    });
    world.fill(5);
    // Number 1 came home at 1 ms, number 2 at 2 ms.
    world.advance(96);
    world.step(|state, now, effects| state.expire(now, effects));
    assert_eq!(
        world
            .closing
            .iter()
            .map(|lent| lent.value)
            .collect::<Vec<_>>(),
        [1]
    );
    world.advance(1_000);
    world.step(|state, now, effects| state.expire(now, effects));
    assert_eq!(
        world
            .closing
            .iter()
            .map(|lent| lent.value)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[test]
fn one_timer_serves_all_callers_and_is_set_anew_only_for_an_earlier_deadline() {
    let mut world = world(|config| config.max_size = 1);
    world.fill(1);
    let _held = world.state.check_out(world.now).unwrap();
    let mut alarms = Vec::new();
    for ms in [50, 60, 40, 40, 70] {
        let deadline = world.now.after(Duration::from_millis(ms));
        alarms.push(world.step(|state, now, effects| {
            let waker = Waker::noop().clone();
            match state.queue(deadline, waker.clone(), now) {
                Ok(_) => false,
                Err(_) => {
                    let place = state.request(None, false, deadline, waker, now, effects);
                    assert!(place.is_ok());
                    effects.alarm
                }
            }
        }));
    }
    assert_eq!(alarms, [true, false, true, false, false]);
    world.advance(50);
    world.dismiss();
    let left: Vec<u64> = world.state.waiters.queue().iter().map(|it| it.0).collect();
    assert_eq!(left.len(), 2, "the second and the last");
    assert_eq!(
        world.state.deadlines.next(),
        world.now.after(Duration::from_millis(10))
    );
}

#[test]
fn however_many_come_meanwhile_those_whose_time_is_over_are_told() {
    let mut state = State::<Connection, u64>::new(
        &Config {
            max_size: 0,
            ..Config::default()
        },
        Vec::new(),
    );
    let mut now = Time::FIRST;
    let mut told = 0;
    let mut come = 0;
    // Each time the timer's task has its turn, more callers have come than it looks at in one.
    for _ in 0..100 {
        for _ in 0..500 {
            let (deadline, waker) = (now.after(Duration::from_millis(10)), Waker::noop().clone());
            let mut effects = Effects::new();
            if let Err(waker) = state.queue(deadline, waker, now) {
                let place = state.request(None, false, deadline, waker, now, &mut effects);
                assert!(place.is_ok());
            }
            told += effects.wake.into_iter().count();
            come += 1;
        }
        now = now.after(Duration::from_millis(1));
        let mut effects = Effects::new();
        state.dismiss(now, &mut effects);
        told += effects.wake.into_iter().count();
    }
    assert_eq!(state.waiters.queued(), come - told);
    assert!(
        come - told <= 20 * 500,
        "{} wait, and ten rounds of them may",
        come - told
    );
}

#[test]
fn a_hundred_thousand_callers_who_left_leave_no_deadline_behind() {
    let mut world = world(|config| config.max_size = 1);
    world.fill(1);
    let _held = world.state.check_out(world.now).unwrap();
    let deadline = world.now.after(Duration::from_secs(30));
    world.request(None, deadline);
    for round in 0..100_000 {
        let waker = Waker::noop().clone();
        let place = world.state.queue(deadline, waker, world.now).unwrap();
        // Now and then the timer fires for somebody in a hurry.
        if round % 10 == 0 {
            world.request(None, world.now);
            world.dismiss();
            world.callers.pop();
        }
        world.step(|state, now, effects| state.cancel(place, now, effects));
        assert!(world.state.deadlines.listed() <= 2 * deadlines::FEW);
    }
}

#[test]
fn an_expired_waiter_never_absorbs_a_connection() {
    let mut world = world(|config| config.max_size = 1);
    world.fill(1);
    let lent = world.state.check_out(world.now).unwrap();
    world.request(None, world.now.after(Duration::from_millis(10)));
    world.request(None, Time::NEVER);
    world.advance(10);
    world.give_back(lent);
    let (late, patient) = (&world.callers[0], &world.callers[1]);
    assert!(matches!(
        world.state.collect(late.place, Waker::noop()),
        Ok(Grant::Expired(2))
    ));
    assert!(matches!(
        world.state.collect(patient.place, Waker::noop()),
        Ok(Grant::Connection(_))
    ));
}

#[test]
fn a_waiter_whose_connection_proves_dead_keeps_its_place() {
    let mut world = world(|config| config.max_size = 1);
    world.fill(1);
    let lent = world.state.check_out(world.now).unwrap();
    world.request(None, Time::NEVER);
    world.request(None, Time::NEVER);
    world.give_back(lent);
    let first = world.callers.remove(0);
    let Ok(Grant::Connection(dead)) = world.state.collect(first.place, Waker::noop()) else {
        panic!()
    };
    world.give_up(dead);
    world.request(Some(first.place), Time::NEVER);
    let queue: Vec<u64> = world
        .state
        .waiters
        .queue()
        .into_iter()
        .map(|(ticket, _)| ticket)
        .collect();
    assert_eq!(
        queue,
        [first.place.ticket(), world.callers[0].place.ticket()]
    );
}

#[test]
fn a_discarded_connection_keeps_its_slot_until_it_is_closed() {
    let mut world = world(|config| config.max_size = 1);
    world.fill(1);
    let lent = world.state.check_out(world.now).unwrap();
    world.give_up(lent);
    world.request(None, Time::NEVER);
    assert!(world.dials.is_empty());
    let lent = world.closing.pop().unwrap();
    world.closed(lent);
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_dial_nobody_needs_is_not_started_and_one_under_way_is_pooled() {
    let mut world = world(|config| config.max_connecting = 2);
    for _ in 0..5 {
        world.request(None, Time::NEVER);
    }
    assert_eq!(world.dials.len(), 2);
    while let Some(caller) = world.callers.pop() {
        let place = caller.place;
        world.step(|state, now, effects| state.leave(place, now, effects));
    }
    while let Some(dial) = world.dials.pop() {
        world.connected(dial);
    }
    assert_eq!((world.state.counts().idle, world.dials.len()), (2, 0));
}

#[test]
fn in_an_outage_one_dial_a_backoff_step_probes_for_all() {
    let mut world = world(|config| config.max_connecting = 3);
    for _ in 0..10 {
        world.request(None, Time::NEVER);
    }
    let dials = std::mem::take(&mut world.dials);
    assert_eq!(dials.len(), 3);
    for dial in dials {
        world.fail(dial, false);
    }
    // Three that began together are one failure.
    for expected in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        let waits: Vec<Duration> = world.pauses.iter().map(|pause| pause.wait).collect();
        assert_eq!(waits, [Duration::from_millis(expected)]);
        assert!(world.dials.is_empty(), "nobody dials in a pause");
        world.pause_over();
        let dial = world.dials.pop().expect("one probe");
        assert!(world.dials.is_empty(), "and no second");
        world.fail(dial, false);
    }
    world.pause_over();
    let dial = world.dials.pop().unwrap();
    world.connected(dial);
    assert_eq!(world.dials.len(), 3, "recovered: as many as may be");
}

#[test]
fn a_permanent_error_is_told_to_all_at_once_and_to_newcomers_until_the_pause_is_over() {
    let mut world = world(|_| {});
    world.request(None, Time::NEVER);
    world.request(None, Time::NEVER);
    let dial = world.dials.pop().unwrap();
    world.fail(dial, true);
    for caller in std::mem::take(&mut world.callers) {
        assert!(matches!(
            world.state.collect(caller.place, Waker::noop()),
            Ok(Grant::Failed("refused", _))
        ));
    }
    world.request(None, Time::NEVER);
    assert!(world.callers.is_empty(), "told without a wait");
    world.advance(100);
    world.request(None, Time::NEVER);
    assert_eq!(world.callers.len(), 1, "worth another dial");
}

#[test]
fn connections_that_die_unused_are_dialled_again_no_faster_than_the_backoff_allows() {
    let mut world = world(|_| {});
    world.request(None, Time::NEVER);
    for failures in 0..5_u32 {
        let dial = world.dials.pop().expect("one probe");
        world.connected(dial);
        assert!(
            world.dials.is_empty(),
            "not before this one has proved itself"
        );
        let lent = world.collect_first();
        world.step(|state, now, effects| state.dropped_unused("dropped", now, 0, effects));
        world.give_up(lent.1);
        world.request(Some(lent.0), Time::NEVER);
        let closing = world.closing.pop().unwrap();
        world.closed(closing);
        assert!(world.dials.is_empty(), "not before the pause is over");
        assert_eq!(
            world.pauses.last().unwrap().wait,
            Duration::from_millis(100 << failures)
        );
        if failures == 0 {
            world.request(None, Time::NEVER);
        }
        world.pause_over();
    }
    let dial = world.dials.pop().expect("one probe");
    world.connected(dial);
    let (_, lent) = world.collect_first();
    world.give_back(lent);
    assert!(
        world.state.outages.is_over(),
        "one that came home proves that they are of use"
    );
}

#[test]
fn a_connection_that_outlives_a_pause_ends_the_outage() {
    let mut world = world(|config| config.min_idle = 2);
    let dials = std::mem::take(&mut world.dials);
    for dial in dials {
        world.connected(dial);
    }
    world.step(|state, now, effects| state.dropped_unused("dropped", now, 0, effects));
    world.pause_over();
    for value in world.checked_out() {
        assert!(value > 0);
    }
    world.request(None, Time::NEVER);
    let dial = world.dials.pop().expect("one probe");
    world.connected(dial);
    assert!(!world.state.outages.is_over());
    world.pause_over();
    assert!(world.state.outages.is_over());
}

#[test]
fn an_inspected_connection_finds_its_place_without_passing_all_the_others() {
    let mut world = world(|config| {
        config.max_size = 1_000;
        config.max_connecting = 1_000;
    });
    world.fill(1_000);
    let ids: Vec<(SlotId, u64)> = world
        .state
        .slots
        .all()
        .map(|(slot, entry)| (slot, entry.id))
        .collect();
    for (slot, id) in ids {
        let value = world
            .state
            .inspect(slot, Some(id), world.now)
            .expect("it is idle");
        world.step(|state, now, effects| state.put_back(slot, value, now, effects));
    }
    // One for each way of searching, at each of a thousand places.
    assert!(
        world.state.idle.passed <= 2_000,
        "{} passed by",
        world.state.idle.passed
    );
    world.assert_invariants();
}

#[test]
fn an_inspected_connection_does_not_pass_those_that_came_home_in_the_same_moment() {
    let mut world = world(|config| {
        config.max_size = 1_000;
        config.max_connecting = 1_000;
    });
    world.fill(1_000);
    for _ in 0..1_000 {
        let lent = world.step(|state, now, effects| state.take(now, effects));
        world.out.push(lent.expect("it is idle"));
    }
    for lent in std::mem::take(&mut world.out) {
        // In two moments, half of them in each.
        world.advance(u64::from(world.state.idle.len() == 500));
        world.give_back(lent);
    }
    let ids: Vec<(SlotId, u64)> = world
        .state
        .slots
        .all()
        .map(|(slot, entry)| (slot, entry.id))
        .collect();
    for (slot, id) in ids {
        let value = world
            .state
            .inspect(slot, Some(id), world.now)
            .expect("it is idle");
        world.step(|state, now, effects| state.put_back(slot, value, now, effects));
    }
    assert!(
        world.state.idle.passed <= 2_000,
        "{} passed by",
        world.state.idle.passed
    );
    world.assert_invariants();
}

#[test]
fn whoever_must_wait_again_finds_his_place_without_passing_all_the_others() {
    let mut world = world(|config| config.max_size = 1);
    for _ in 0..1_000 {
        world.request(None, Time::NEVER);
    }
    let mut place = world.callers.remove(0).place;
    for _ in 0..1_000 {
        world.step(|state, now, effects| state.leave(place, now, effects));
        place = world
            .state
            .waiters
            .join(Some(place), Time::NEVER, Waker::noop().clone());
    }
    assert_eq!(world.state.waiters.passed, 0);
}

#[test]
fn nothing_is_looked_at_that_is_not_due() {
    let mut world = world(|config| {
        config.max_size = 1_000;
        config.max_connecting = 1_000;
    });
    world.fill(1_000);
    world.advance(598_999);
    world.step(|state, now, effects| state.expire(now, effects));
    assert!(world.closing.is_empty());
    world.advance(3);
    world.step(|state, now, effects| state.expire(now, effects));
    assert_eq!(
        world.closing.len(),
        2,
        "those that came home in the first two milliseconds"
    );
}

#[test]
fn a_connection_that_goes_out_and_comes_home_all_the_time_nudges_nobody() {
    for min_idle in [0, 1] {
        let mut world = world(|config| config.min_idle = min_idle);
        world.fill(min_idle + 1);
        for _ in 0..1_000 {
            let lent = world.state.check_out(world.now).expect("it is idle");
            // The maintenance task looks when nothing is idle that it could reap, at a clock that is ahead by a tick.
            let ahead = world.now.after(Duration::from_millis(10));
            world.step(|state, _, effects| state.expire(ahead, effects));
            world.advance(1);
            let is_home = world
                .state
                .check_in(lent.slot, &mut Some(lent.value), world.now);
            let is_idle = matches!(is_home, Some(CheckedIn::Idle));
            assert!(is_idle, "by the path that owes nothing");
        }
        world.assert_invariants();
    }
}

#[test]
fn a_newcomer_waits_for_a_connection_on_probation_instead_of_being_refused() {
    let mut world = world(|config| config.on_connect_error = OnConnectError::Fail);
    world.step(|state, now, effects| state.dropped_unused("dropped", now, 0, effects));
    world.pause_over();
    world.request(None, Time::NEVER);
    let dial = world.dials.pop().expect("one probe");
    world.connected(dial);
    world.request(None, Time::NEVER);
    assert_eq!(
        world.callers.len(),
        2,
        "he was refused though the peer may be well"
    );
}

#[test]
fn what_is_due_is_given_up_batch_by_batch() {
    let mut world = world(|config| {
        config.max_size = 300;
        config.max_connecting = 300;
    });
    world.fill(300);
    world.advance(3_600_000);
    for (more, given_up) in [(true, BATCH), (true, 2 * BATCH), (false, 300)] {
        let due = world.step(|state, now, effects| state.expire(now, effects));
        assert_eq!((due <= world.now, world.closing.len()), (more, given_up));
    }
}

#[test]
fn connections_made_together_do_not_expire_together() {
    let mut world = world(|config| {
        config.max_size = 100;
        config.max_connecting = 100;
        config.max_lifetime = Some(Duration::from_millis(1_000));
        config.lifetime_jitter = 0.5;
    });
    let made = world.now;
    for _ in 0..100 {
        world.request(None, Time::NEVER);
    }
    for dial in std::mem::take(&mut world.dials) {
        world.connected(dial);
    }
    let ends: Vec<Duration> = world
        .state
        .lifetimes
        .all(&world.state.slots)
        .into_iter()
        .map(|(expires, _)| expires.since(made))
        .collect();
    assert_eq!(ends.len(), 100);
    assert!(ends[0] >= Duration::from_millis(500) && ends[99] <= Duration::from_millis(1_000));
    // At random some two of a hundred would be twenty times as close; evenly they would be 5 ms apart.
    let closest = ends.windows(2).map(|pair| pair[1] - pair[0]).min();
    assert!(closest >= Some(Duration::from_millis(1)), "{closest:?}");
}
