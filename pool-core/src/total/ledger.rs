//! The one total over all keys: the lock around the [`Budget`], and the visits it asks for.
//!
//! Locks are taken in this order, each only while the one before is held or on its own: the turn, one key's state, the
//! budget. So a key's account is written under the key's own lock, and never is one key locked together with another.
//! Nothing of the user's runs under any of them: what a visit owes to the world is a [`Debt`], paid after the turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::budget::{Budget, KeyId, Next};
use super::limits::Limits;
use crate::clock::Clock;
use crate::manager::Manager;
use crate::shared::{Debt, Shared, caught};
use crate::state::{Account, Counts, Effects, State, Time};
use crate::status::KeyedTotal;

pub(crate) struct Ledger<M: Manager> {
    limits: Limits,
    /// All keys have one time line, on which their connections are compared.
    clock: Clock,
    /// All keys count arrivals together.
    arrivals: Arc<AtomicU64>,
    budget: Mutex<Budget>,
    /// What the budget says of itself, to be read without its lock.
    pressed: AtomicBool,
    /// Whoever has it decides who gets the room there is, and nobody else does.
    turn: Mutex<Members<M>>,
}

type Members<M> = BTreeMap<KeyId, Arc<Shared<M>>>;

/// What a key's pool knows of the others.
pub(crate) struct Member<M: Manager> {
    id: KeyId,
    ledger: Arc<Ledger<M>>,
    home: Weak<dyn Home>,
}

/// Where a key's pool belongs.
pub(crate) trait Home: Send + Sync {
    /// There is nothing left of a key, it seems.
    fn vacated(&self, id: KeyId);

    /// Nothing can go on.
    fn runtime_ended(&self);
}

/// What came of a change of one key's pool, to be followed up with no lock held.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct News {
    /// Somebody may be served.
    has_next: bool,
    vacant: bool,
}

impl<M: Manager> Ledger<M> {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let max_total = limits.max_total.unwrap_or(usize::MAX);
        Arc::new(Self {
            limits,
            clock: Clock::start(false),
            arrivals: Arc::default(),
            budget: Mutex::new(Budget::new(max_total, limits.on_full)),
            pressed: AtomicBool::new(false),
            turn: Mutex::default(),
        })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A key has a pool now.
    pub(crate) fn join(&self, id: KeyId, shared: &Arc<Shared<M>>) {
        self.turn().insert(id, Arc::clone(shared));
    }

    /// A key's pool has nothing any more, nor will it.
    pub(crate) fn leave(&self, id: KeyId) {
        let left = self.turn().remove(&id);
        // With the turn given up, as the manager goes with it, which is the user's.
        drop(left);
    }

    /// Nobody dials any more. Said before the first key is closed, as each that closes makes room for the others.
    pub(crate) fn close(&self) {
        self.budget(Budget::close);
    }

    /// Looks at all keys, one after the other. Nobody is let in meanwhile, so no connection is counted twice.
    pub(crate) fn look(&self, mut see: impl FnMut(Counts)) {
        for shared in self.turn().values() {
            see(shared.lock().counts());
        }
    }

    /// Connections of all keys.
    pub(crate) fn held(&self) -> usize {
        self.budget(|budget| budget.held())
    }

    pub(crate) fn total(&self) -> Option<KeyedTotal> {
        let max = self.limits.max_total.and_then(NonZeroUsize::new)?;
        Some(KeyedTotal::new(self.held(), max))
    }

    /// Gives the room there is to those who have waited longest, and makes room where there is none.
    fn settle(&self) {
        let mut debts = Vec::new();
        let members = self.turn();
        loop {
            match self.budget(Budget::next) {
                Next::Dial(key) => debts.extend(self.visit(&members, key, true)),
                Next::Refuse(key) => debts.extend(self.visit(&members, key, false)),
                Next::MakeRoom => self.make_room(&members, &mut debts),
                Next::Nothing => break,
            }
        }
        drop(members);
        debts.into_iter().for_each(Debt::pay);
    }

    /// Lets a key dial, or has it refuse a caller, and writes down what became of that.
    fn visit(&self, members: &Members<M>, key: KeyId, admitted: bool) -> Option<Debt<M>> {
        let Some(shared) = members.get(&key).map(Arc::clone) else {
            self.budget(|budget| budget.report(key, Account::default()));
            return None;
        };
        let (now, mut effects) = (self.clock.coarse(), Effects::new());
        let mut state = shared.lock();
        match admitted {
            true => state.admit(now, &mut effects),
            false => state.refuse_newest(&mut effects),
        }
        let account = state.tell(now);
        self.budget(|budget| budget.report(key, account));
        drop(state);
        Some(Debt {
            shared,
            effects,
            news: None,
        })
    }

    /// Has as many connections give way as the budget wants, the least recently used first, whosever they are.
    ///
    /// Costs a look at each key, of which there are no more than connections and callers.
    fn make_room(&self, members: &Members<M>, debts: &mut Vec<Debt<M>>) {
        let now = self.clock.coarse();
        let idle = members
            .iter()
            .filter_map(|(&key, shared)| Some(Reverse((shared.lock().idle_since()?, key))));
        let mut oldest: BinaryHeap<_> = idle.collect();
        while let Some(Reverse((since, key))) = oldest.pop() {
            let shared = &members[&key];
            let mut state = shared.lock();
            // It may have gone out meanwhile, and then the next of the same key has its turn later.
            let is_there = state.idle_since().is_some_and(|oldest| oldest <= since);
            if is_there {
                if !self.claim(None, now) {
                    return;
                }
                let mut effects = Effects::new();
                state.give_way(&mut effects);
                debts.push(Debt {
                    shared: Arc::clone(shared),
                    effects,
                    news: None,
                });
            }
            oldest.extend(state.idle_since().map(|next| Reverse((next, key))));
        }
    }

    fn claim(&self, own: Option<u64>, now: Time) -> bool {
        self.budget(|budget| budget.claim(own, now))
    }

    fn budget<R>(&self, change: impl FnOnce(&mut Budget) -> R) -> R {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut budget);
        self.pressed.store(budget.is_pressed(), Ordering::Relaxed);
        answer
    }

    fn turn(&self) -> MutexGuard<'_, Members<M>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Manager> Member<M> {
    pub(crate) fn new(id: KeyId, ledger: Arc<Ledger<M>>, home: Weak<dyn Home>) -> Self {
        Self { id, ledger, home }
    }

    pub(crate) fn clock(&self, exactly: bool) -> Clock {
        self.ledger.clock.another(exactly)
    }

    pub(crate) fn arrivals(&self) -> &Arc<AtomicU64> {
        &self.ledger.arrivals
    }

    pub(crate) fn total(&self) -> Option<KeyedTotal> {
        self.ledger.total()
    }

    /// Whether a connection that comes home has to be closed for another key's caller; asked under the lock.
    ///
    /// Whoever looks for idle connections and finds none says first that he does, and locks each key after that. So
    /// either he sees this connection idle, or this sees that he looks.
    #[inline]
    pub(crate) fn takes<T, E: Clone>(&self, state: &State<T, E>, now: Time) -> bool {
        self.ledger.pressed.load(Ordering::Relaxed) && self.ledger.claim(state.first_arrival(), now)
    }

    /// Writes down what a change of the state means for the total; under the lock, so that no account is out of date.
    pub(crate) fn settle<T, E: Clone>(
        &self,
        state: &mut State<T, E>,
        now: Time,
        effects: &mut Effects<T, E>,
    ) -> News {
        // One may lie idle that did not come home from a user: it was dialled, looked at, or granted to one who left.
        while self.ledger.pressed.load(Ordering::Relaxed)
            && state.idle_since().is_some()
            && self.ledger.claim(None, now)
        {
            state.give_way(effects);
        }
        let has_next = state.news(now).is_some_and(|account| {
            self.ledger.budget(|budget| {
                budget.report(self.id, account);
                budget.has_next()
            })
        });
        News {
            has_next,
            vacant: state.is_vacant(),
        }
    }

    /// A connection that gave way is closed.
    pub(crate) fn gave_way(&self) {
        let has_next = self.ledger.budget(|budget| {
            budget.gave_way();
            budget.has_next()
        });
        if has_next {
            self.ledger.settle();
        }
    }

    /// Does what has become possible by a change.
    pub(crate) fn follow(&self, news: News) {
        if news.has_next {
            self.ledger.settle();
        }
        if news.vacant {
            self.tell_home(|home| home.vacated(self.id));
        }
    }

    pub(crate) fn runtime_ended(&self) {
        self.tell_home(|home| home.runtime_ended());
    }

    fn tell_home(&self, news: impl FnOnce(&dyn Home)) {
        if let Some(home) = self.home.upgrade() {
            news(&*home);
            // If it was dropped everywhere else meanwhile, it goes here, with what is the user's in it.
            let _ = caught(|| drop(home));
        }
    }
}

impl<M: Manager> fmt::Debug for Ledger<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
