//! The whole vocabulary of transitions, in any order, against the invariants at the top of `state`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

type Tested = State<Wire, &'static str>;
type Pick = prop::sample::Index;

/// A connection, and what it says of itself.
#[derive(Clone, Debug)]
struct Wire(Rc<Facts>);

#[derive(Debug)]
struct Facts {
    slot: SlotId,
    id: u64,
    carries: Cell<usize>,
    draining: Cell<bool>,
    due: Cell<bool>,
    /// Of the whole pool.
    paused: Rc<Cell<bool>>,
}

impl Carrier for Wire {
    fn capacity(&self) -> Option<usize> {
        (!self.0.draining.get()).then_some(self.0.carries.get())
    }

    fn admits(&self, _: usize) -> Admission {
        match (self.0.due.get(), self.0.paused.get()) {
            (true, _) => Admission::Never,
            (false, true) => Admission::NotNow,
            (false, false) => Admission::Yes,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take,
    Request(Option<u8>),
    Collect(Pick),
    Leave(Pick),
    Release(Pick),
    Retire(Pick),
    Publish(Pick, usize),
    Drain(Pick),
    Due(Pick),
    /// The pool gives an idle connection or a new one, on the spot or later.
    Arrive {
        at_once: bool,
        idle: bool,
        carries: usize,
        draining: bool,
        due: bool,
    },
    Pend,
    Fail(bool),
    EndSurplus,
    Homed,
    Pause,
    Resume,
    Pass(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Pick>;
    let arrive = (
        any::<bool>(),
        any::<bool>(),
        0..5_usize,
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(at_once, idle, carries, draining, due)| Op::Arrive {
            at_once,
            idle,
            carries,
            draining,
            due,
        });
    prop_oneof![
        4 => Just(Op::Take),
        9 => prop::option::of(any::<u8>()).prop_map(Op::Request),
        8 => pick().prop_map(Op::Collect),
        3 => pick().prop_map(Op::Leave),
        8 => pick().prop_map(Op::Release),
        1 => pick().prop_map(Op::Retire),
        4 => (pick(), 0..5_usize).prop_map(|(which, carries)| Op::Publish(which, carries)),
        1 => pick().prop_map(Op::Drain),
        1 => pick().prop_map(Op::Due),
        9 => arrive,
        4 => Just(Op::Pend),
        1 => any::<bool>().prop_map(Op::Fail),
        3 => Just(Op::EndSurplus),
        5 => Just(Op::Homed),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        3 => any::<u8>().prop_map(Op::Pass),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let max_waiters = prop_oneof![Just(usize::MAX), 0..4_usize];
    (
        1..5_usize,
        1..5_usize,
        1..6_usize,
        any::<bool>(),
        max_waiters,
    )
        .prop_map(
            |(max_size, open_first, max_leases, even, max_waiters)| Limits {
                spread: match even {
                    true => Spread::LeastLoaded,
                    false => Spread::FullestFirst,
                },
                max_leases,
                open_first: open_first.min(max_size),
                max_size,
                max_waiters,
            },
        )
}

struct Caller {
    place: WaiterId,
    deadline: Time,
}

/// The world around the state: the pool, the connections, and whoever holds something.
struct World {
    limits: Limits,
    state: Tested,
    now: Time,
    callers: Vec<Caller>,
    seats: Vec<Lent<Wire>>,
    /// Openings in the middle of their look at the pool, and those that wait for it.
    begun: usize,
    pending: usize,
    /// Somebody has called the surplus ones, and some of them have not looked yet.
    called: bool,
    homing: Vec<Wire>,
    idle: Vec<Wire>,
    paused: Rc<Cell<bool>>,
    /// The pool was resumed, and nobody was there to hear it; whoever comes home will look.
    unheard: bool,
    wires: Vec<Rc<Facts>>,
    closed: usize,
}

fn pick<T>(from: &mut Vec<T>, which: Pick) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(which.index(from.len())))
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::new(limits),
            now: Time::START,
            callers: Vec::new(),
            seats: Vec::new(),
            begun: 0,
            pending: 0,
            called: false,
            homing: Vec::new(),
            idle: Vec::new(),
            paused: Rc::default(),
            unheard: false,
            wires: Vec::new(),
            closed: 0,
        }
    }

    fn step<R>(
        &mut self,
        change: impl FnOnce(&mut Tested, Time, &mut Effects<Wire, &'static str>) -> R,
    ) -> R {
        let mut effects = Effects::new();
        let before: BTreeMap<SlotId, usize> = self
            .state
            .open
            .iter()
            .map(|(slot, open)| (*slot, open.leases))
            .collect();
        let queue = self.queue();
        let answer = change(&mut self.state, self.now, &mut effects);
        for (slot, open) in &self.state.open {
            let more = open.leases > before.get(slot).copied().unwrap_or(0);
            assert!(!more || open.leases <= self.limits.max_leases);
            assert!(
                !more || open.leases <= open.value.0.carries.get(),
                "a connection carries more than it can"
            );
        }
        // Those who left the queue were the first of it.
        let after = self.queue();
        let left: Vec<u64> = queue
            .iter()
            .copied()
            .filter(|ticket| !after.contains(ticket))
            .collect();
        assert!(queue.starts_with(&left), "somebody was overtaken");
        self.begun += effects.open;
        self.called |= effects.surplus;
        for parted in effects.part {
            let (Parted::Home(wire) | Parted::Closed(wire)) = &parted;
            let facts = Rc::clone(&wire.0);
            match parted {
                Parted::Home(wire) => self.homing.push(wire),
                Parted::Closed(wire) => {
                    drop(wire);
                    self.wires.retain(|wire| wire.id != facts.id);
                    self.closed += 1;
                }
            }
            let listed = self.wires.iter().filter(|wire| wire.id == facts.id);
            let held = self.homing.iter().filter(|wire| wire.0.id == facts.id);
            assert_eq!(
                Rc::strong_count(&facts),
                1 + listed.count() + held.count(),
                "somebody still has a connection that goes home"
            );
        }
        answer
    }

    fn queue(&mut self) -> Vec<u64> {
        self.state
            .waiters
            .queue()
            .into_iter()
            .map(|(ticket, _)| ticket)
            .collect()
    }

    fn request(&mut self, deadline: Time) {
        let waiting = !self.state.waiters.is_empty();
        let brings = self.limits.max_size - self.state.open.len() - self.homing.len();
        match self.step(|state, _, effects| state.request(deadline, || brings, effects)) {
            Ok(place) => self.callers.push(Caller { place, deadline }),
            Err(Grant::Connection(lent)) => {
                assert!(!waiting, "a newcomer overtook");
                self.seats.push(lent);
            }
            Err(Grant::Refused) => {
                assert!(self.queue().len() >= self.limits.max_waiters);
                assert!(brings == 0 || waiting, "refused although the pool has room");
            }
            Err(other) => unreachable!("{other:?}"),
        }
    }

    fn collect(&mut self, which: Pick) {
        let Some(caller) = pick(&mut self.callers, which) else {
            return;
        };
        match self.state.collect(caller.place, Waker::noop()) {
            Err(_) => self.callers.push(caller),
            Ok(Grant::Connection(lent)) => self.seats.push(lent),
            Ok(Grant::Failed(..)) => {}
            Ok(Grant::Expired(_)) => assert!(caller.deadline <= self.now),
            Ok(other) => unreachable!("{other:?}"),
        }
    }

    fn leave(&mut self, caller: Caller) {
        // Out of turn, so not through `step`.
        let mut effects = Effects::new();
        self.state.leave(caller.place, self.now, &mut effects);
        self.step(|_, _, owed| *owed = effects);
    }

    fn release(&mut self, lent: Lent<Wire>) {
        let Lent { slot, value } = lent;
        drop(value);
        self.step(|state, now, effects| state.release(slot, now, effects));
    }

    fn publish(&mut self, which: Pick, change: impl FnOnce(&Facts)) {
        if self.wires.is_empty() {
            return;
        }
        let wire = Rc::clone(&self.wires[which.index(self.wires.len())]);
        change(&wire);
        let is_open = self
            .state
            .open
            .get(&wire.slot)
            .is_some_and(|open| open.id == wire.id);
        let (slot, id) = (wire.slot, wire.id);
        drop(wire);
        let known = self.step(|state, now, effects| state.published(slot, id, now, effects));
        assert_eq!(known, is_open);
        let stale = self.step(|state, now, effects| state.published(slot, 0, now, effects));
        assert!(!stale, "a connection that is gone spoke for its successor");
    }

    /// One opening fewer, of those in the middle of their look or of those that wait.
    fn end_opening(&mut self, at_once: bool) -> bool {
        let from = match (at_once && self.begun > 0) || self.pending == 0 {
            true => &mut self.begun,
            false => &mut self.pending,
        };
        let some = *from > 0;
        *from -= usize::from(some);
        some
    }

    fn wire(&mut self, idle: bool, carries: usize, draining: bool, due: bool) -> Option<Wire> {
        let new = (0..self.limits.max_size)
            .map(SlotId::from_index)
            .find(|slot| self.wires.iter().all(|wire| wire.slot != *slot));
        match new {
            Some(slot) if !idle || self.idle.is_empty() => {
                let id = (self.wires.len() + self.closed) as u64 + 1;
                let facts = Rc::new(Facts {
                    slot,
                    id,
                    carries: Cell::new(carries),
                    draining: Cell::new(draining),
                    due: Cell::new(due),
                    paused: Rc::clone(&self.paused),
                });
                self.wires.push(Rc::clone(&facts));
                Some(Wire(facts))
            }
            _ => self.idle.pop(),
        }
    }

    fn arrive(&mut self, at_once: bool, wire: Wire) {
        assert!(self.end_opening(at_once));
        let (slot, id) = (wire.0.slot, wire.0.id);
        self.step(|state, now, effects| state.opened(slot, id, wire, now, effects));
    }

    fn homed(&mut self) {
        let Some(wire) = self.homing.pop() else {
            return;
        };
        if wire.0.due.get() {
            let id = wire.0.id;
            drop(wire);
            self.wires.retain(|wire| wire.id != id);
            self.closed += 1;
        } else {
            self.idle.push(wire);
        }
        self.step(|state, _, effects| state.homed(effects));
        self.unheard &= !self.homing.is_empty();
    }

    fn end_surplus(&mut self) {
        if self.pending == 0 {
            return;
        }
        if self.state.end_surplus() {
            self.pending -= 1;
        } else {
            self.called = false;
        }
    }

    fn pend(&mut self) {
        if self.begun == 0 {
            return;
        }
        self.begun -= 1;
        if self.step(|state, now, effects| state.pends(now, effects)) {
            self.pending += 1;
        }
    }

    /// Heard by the openings that wait for the pool.
    fn resume(&mut self) {
        self.paused.set(false);
        self.unheard = self.pending == 0 && !self.homing.is_empty();
        if self.pending > 0 {
            self.step(|state, now, effects| state.look_again(now, effects));
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Take => {
                let waiting = !self.state.waiters.is_empty();
                if let Some(lent) = self.step(|state, _, _| state.take()) {
                    assert!(!waiting, "a newcomer overtook");
                    self.seats.push(lent);
                }
            }
            Op::Request(limit) => {
                let deadline = limit.map_or(Time::NEVER, |ms| {
                    self.now.after(Duration::from_millis(ms.into()))
                });
                self.request(deadline);
            }
            Op::Collect(which) => self.collect(which),
            Op::Leave(which) => {
                if let Some(caller) = pick(&mut self.callers, which) {
                    self.leave(caller);
                }
            }
            Op::Release(which) => {
                if let Some(lent) = pick(&mut self.seats, which) {
                    self.release(lent);
                }
            }
            Op::Retire(which) => {
                if !self.seats.is_empty() {
                    let slot = self.seats[which.index(self.seats.len())].slot;
                    self.step(|state, now, effects| state.retire(slot, now, effects));
                }
            }
            Op::Publish(which, carries) => self.publish(which, |wire| wire.carries.set(carries)),
            Op::Drain(which) => self.publish(which, |wire| wire.draining.set(true)),
            Op::Due(which) => {
                if !self.wires.is_empty() {
                    self.wires[which.index(self.wires.len())].due.set(true);
                }
            }
            Op::Arrive {
                at_once,
                idle,
                carries,
                draining,
                due,
            } => {
                if self.begun + self.pending > 0
                    && let Some(wire) = self.wire(idle, carries, draining, due)
                {
                    self.arrive(at_once, wire);
                }
            }
            Op::Pend => self.pend(),
            Op::Fail(at_once) => {
                if self.end_opening(at_once) {
                    self.step(|state, now, effects| state.failed("refused", now, effects));
                }
            }
            Op::EndSurplus => self.end_surplus(),
            Op::Homed => self.homed(),
            Op::Pause => self.paused.set(true),
            Op::Resume => self.resume(),
            Op::Pass(ms) => self.now = self.now.after(Duration::from_millis(ms.into())),
        }
    }

    fn assert_invariants(&mut self) {
        let queue = self.queue();
        let state = &self.state;
        assert_eq!(state.openings, self.begun + self.pending);
        assert_eq!(state.homing, self.homing.len());
        let roomy: BTreeSet<(usize, SlotId)> = state
            .open
            .iter()
            .filter(|(_, open)| open.has_room())
            .map(|(slot, open)| (open.leases, *slot))
            .collect();
        assert_eq!(state.roomy, roomy);
        let empty: BTreeSet<SlotId> = state
            .open
            .iter()
            .filter(|(_, open)| open.leases == 0)
            .map(|(slot, _)| *slot)
            .collect();
        assert_eq!(state.empty, empty);
        assert!(
            empty.is_empty() || !queue.is_empty(),
            "a connection is held for nobody"
        );
        let shut = |open: &&Open<Wire>| open.phase != Phase::Live;
        assert_eq!(state.shut, state.open.values().filter(shut).count());
        let counts = state.counts();
        assert_eq!(counts.waiting, queue.len());
        let uncollected = self.callers.len() - queue.len();
        assert!(
            (self.seats.len()..=self.seats.len() + uncollected).contains(&counts.leases),
            "a lease is lost"
        );
        assert!(queue.is_sorted(), "the queue is in order of arrival");
        // While a connection has leases it is one of the pool's, and of nobody else.
        assert!(state.open.len() + self.homing.len() + self.idle.len() <= self.limits.max_size);
        if !queue.is_empty() {
            assert!(state.wanted() > 0, "a waiter is forgotten");
            let room = roomy
                .iter()
                .any(|(_, slot)| state.open[slot].value.admits(0) == Admission::Yes);
            assert!(
                !room || self.begun > 0 || self.unheard,
                "somebody waits beside a connection with room"
            );
        }
        assert!(
            state.openings + state.homing >= state.wanted(),
            "fewer are opened than are needed"
        );
        assert!(
            state.openings <= state.wanted() || self.begun > 0 || self.called,
            "an opening that nobody needs goes on"
        );
    }

    /// Everything goes home; then nothing may be left.
    fn finish(mut self) {
        self.resume();
        while !self.callers.is_empty()
            || !self.seats.is_empty()
            || self.begun + self.pending + self.homing.len() > 0
        {
            self.pend();
            self.end_surplus();
            self.homed();
            if self.pending > 0
                && let Some(wire) = self.wire(true, 1, false, false)
            {
                self.arrive(false, wire);
            }
            if let Some(lent) = self.seats.pop() {
                self.release(lent);
            }
            if let Some(caller) = self.callers.pop() {
                match self.state.collect(caller.place, Waker::noop()) {
                    Ok(Grant::Connection(lent)) => self.seats.push(lent),
                    Ok(_) => {}
                    Err(_) => self.leave(caller),
                }
            }
            self.assert_invariants();
        }
        assert_eq!(self.state.counts(), Counts::default());
        assert!(self.state.open.is_empty());
        assert!(self.state.roomy.is_empty() && self.state.empty.is_empty());
        assert_eq!(
            (self.state.openings, self.state.homing, self.state.shut),
            (0, 0, 0)
        );
        assert_eq!(
            self.wires.len(),
            self.idle.len(),
            "every connection is idle in the pool or closed"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_transitions_keeps_the_invariants_and_ends_with_nothing(
        limits in limits(),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut world = World::new(limits);
        for op in ops {
            world.apply(op);
            world.assert_invariants();
        }
        world.finish();
    }
}

fn world(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits {
        spread: Spread::FullestFirst,
        max_leases: usize::MAX,
        open_first: 1,
        max_size: 10,
        max_waiters: usize::MAX,
    };
    change(&mut limits);
    World::new(limits)
}

impl World {
    /// So many callers come, and the pool has nothing idle.
    fn queue_up(&mut self, callers: usize) {
        for _ in 0..callers {
            self.request(Time::NEVER);
            while self.begun > 0 {
                self.pend();
            }
        }
    }

    fn bring(&mut self, carries: usize) {
        let wire = self.wire(false, carries, false, false).unwrap();
        self.arrive(false, wire);
    }

    fn leases(&self) -> Vec<usize> {
        self.state.open.values().map(|open| open.leases).collect()
    }
}

#[test]
fn as_many_are_opened_as_the_callers_need_given_what_one_carries() {
    let mut world = world(|_| {});
    world.queue_up(100);
    // Nobody knows yet what one carries.
    assert_eq!(world.pending, 1);
    world.bring(20);
    while world.begun > 0 {
        world.pend();
    }
    assert_eq!((world.leases(), world.pending), (vec![20], 4));
    // It turns out that the next carries more.
    world.bring(50);
    assert_eq!((world.leases(), world.state.openings), (vec![20, 50], 3));
    assert!(world.called, "two are not needed any more");
    world.end_surplus();
    world.end_surplus();
    assert_eq!(world.pending, 1);
}

#[test]
fn no_more_are_opened_than_the_pool_may_have_but_one() {
    let mut world = world(|limits| limits.max_size = 3);
    world.queue_up(1);
    world.bring(1);
    world.queue_up(100);
    assert_eq!(world.pending, 2);
    world.bring(1);
    world.bring(1);
    while world.begun > 0 {
        world.pend();
    }
    // Should the pool grow, or somebody else give up what he has, it is there.
    assert_eq!(world.pending, 1);
}

#[test]
fn a_connection_that_carries_nothing_is_held_while_somebody_waits() {
    let mut world = world(|_| {});
    world.queue_up(2);
    world.bring(0);
    while world.begun > 0 {
        world.pend();
    }
    assert_eq!((world.leases(), world.pending), (vec![0], 1));
    let wire = Rc::clone(&world.wires[0]);
    wire.carries.set(1);
    let (slot, id) = (wire.slot, wire.id);
    drop(wire);
    world.step(|state, now, effects| state.published(slot, id, now, effects));
    assert_eq!((world.leases(), world.state.counts().waiting), (vec![1], 1));
    let caller = world.callers.pop().unwrap();
    world.leave(caller);
    assert_eq!(world.leases(), [1]);
    world.finish();
}

#[test]
fn one_that_is_due_when_it_arrives_serves_who_waits_and_nobody_else() {
    let mut world = world(|_| {});
    world.queue_up(2);
    let wire = world.wire(false, 10, false, true).unwrap();
    world.arrive(false, wire);
    assert_eq!(world.leases(), [2]);
    assert!(world.step(|state, _, _| state.take()).is_none());
    world.queue_up(1);
    assert_eq!((world.leases(), world.pending), (vec![2], 1));
}

#[test]
fn beside_room_nobody_waits_for_a_further_connection() {
    let mut world = world(|limits| limits.open_first = 3);
    world.queue_up(1);
    world.bring(10);
    // None is idle: he shares, and the dial that was started goes on without him.
    world.queue_up(1);
    assert_eq!((world.leases(), world.state.openings), (vec![2], 0));
    // One is idle: it is his.
    world.request(Time::NEVER);
    assert_eq!(world.begun, 1);
    let wire = world.wire(false, 10, false, false).unwrap();
    world.arrive(true, wire);
    assert_eq!(world.leases(), [2, 1]);
    // While he looks, the next does not wait for what he finds.
    world.request(Time::NEVER);
    world.request(Time::NEVER);
    assert_eq!(world.begun, 1);
    world.pend();
    assert_eq!((world.leases().iter().sum::<usize>(), world.begun), (5, 0));
}

#[test]
fn whom_the_pool_can_serve_is_not_one_who_waits_for_another() {
    let mut world = world(|limits| {
        limits.max_size = 2;
        limits.max_waiters = 1;
    });
    // What one carries is not known yet.
    world.queue_up(5);
    assert_eq!(world.state.counts().waiting, 5);
    world.bring(2);
    world.bring(2);
    // Four are served; the fifth is the one who may wait.
    world.queue_up(1);
    let counts = world.state.counts();
    assert_eq!((counts.leases, counts.waiting), (4, 1));
}
