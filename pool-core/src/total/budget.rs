//! Who gets the next connection, over all keys: it decides and touches nothing, as [`State`](crate::state::State) does.
//!
//! ```text
//!           report: a wish                 next: the oldest caller's      report: the slot is taken
//!   a key ─────────────────► its place in ──────────────┬────────────────────────────────────────► held ─┐
//!                            the order                  │                                                │
//!                                                     room ◄─────────────────────────────────────────────┘
//!                                                                         report: the slot is free
//! ```
//!
//! Invariants, asserted after every step of the property test:
//!
//! - What is held is never above `max_total`, unless it may overflow.
//! - Nobody is in the order while there is room.
//! - Nobody is in the order while a connection lies idle that was not asked to give way, to him or to another.
//!
//! A key's account comes whole each time, under the lock of that key; so none is ever out of date, and whatever was
//! forgotten once is put right by the next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::OnFull;
use crate::state::{Account, Time, Wish};

/// Names the pool of a key. One that comes after it has another serial number, even if the key is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId {
    pub(crate) hash: u64,
    pub(crate) serial: u64,
}

/// The time in which every connection there may be is taken from waiting callers of its own key once, at most.
const TAKEN_ONCE_IN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Budget {
    max_total: usize,
    on_full: OnFull,
    keys: BTreeMap<KeyId, Standing>,
    /// The keys that want to dial, in the order in which their callers came.
    order: BTreeMap<Place, KeyId>,
    /// Slots taken, over all keys.
    held: usize,
    /// Connections that are being closed to make room for others.
    giving_way: usize,
    /// Callers for whom a dial is wanted, over all keys.
    callers: usize,
    /// All idle connections were asked to give way and there were too few, so whatever comes home is asked too.
    pressed: bool,
    /// No connection is taken from waiting callers of its own key before.
    spared_until: Time,
    /// Places given so far.
    places: u64,
    /// Nobody is served any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Standing {
    account: Account,
    place: Option<Place>,
}

/// The oldest caller's arrival comes first; those for whom nobody waits stand in the order in which they came here.
type Place = (u64, u64);

/// What is to be done, by whoever has the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is room for a dial of this key, if it still wants one.
    Dial(KeyId),
    /// The least recently used idle connections have to give way, as long as [`Budget::claim`] agrees.
    MakeRoom,
    /// The newest caller of this key has to be told that there is none for him.
    Refuse(KeyId),
    Nothing,
}

impl Budget {
    pub(super) fn new(max_total: usize, on_full: OnFull) -> Self {
        Self {
            max_total,
            on_full,
            keys: BTreeMap::new(),
            order: BTreeMap::new(),
            held: 0,
            giving_way: 0,
            callers: 0,
            pressed: false,
            spared_until: Time::START,
            places: 0,
            closed: false,
        }
    }

    /// What a key has and wants now.
    pub(super) fn report(&mut self, key: KeyId, account: Account) {
        let standing = self.keys.entry(key).or_default();
        let former = std::mem::replace(&mut standing.account, account);
        self.held = self.held - former.held + account.held;
        self.callers = self.callers - callers(former) + callers(account);
        let arrival = |wish: Option<Wish>| wish.map(|wish| wish.arrival);
        if arrival(former.wish) != arrival(account.wish) {
            if let Some(place) = standing.place.take() {
                self.order.remove(&place);
            }
            if let Some(arrival) = arrival(account.wish) {
                let place = (arrival, self.places);
                self.places += 1;
                standing.place = Some(place);
                self.order.insert(place, key);
            }
        }
        if account == Account::default() {
            self.keys.remove(&key);
        }
        self.relax();
    }

    /// What is to be done next. One at a time may ask, do it and report what came of it: nobody else takes the room
    /// meanwhile, nor is anybody served before one who came earlier.
    pub(super) fn next(&mut self) -> Next {
        if let Some(key) = self.first_to_dial() {
            return Next::Dial(key);
        }
        if self.missing() == 0 {
            return Next::Nothing;
        }
        if !self.pressed {
            self.pressed = true;
            return Next::MakeRoom;
        }
        let newest = self.order.range(..(Wish::NOBODY, 0)).next_back();
        match (self.on_full, newest) {
            (OnFull::Fail, Some((_, &key))) => Next::Refuse(key),
            _ => Next::Nothing,
        }
    }

    /// Whether [`next`](Self::next) would have an answer.
    pub(super) fn has_next(&self) -> bool {
        let to_tell = !self.pressed || self.on_full == OnFull::Fail;
        self.first_to_dial().is_some() || (to_tell && self.missing() > 0)
    }

    /// Whether a connection has to give way that is idle, or would be if it came home, or would go to a caller of its own
    /// key who arrived at `own`. Whoever is told so closes it, and then says [`gave_way`](Self::gave_way).
    pub(super) fn claim(&mut self, own: Option<u64>, now: Time) -> bool {
        if self.missing() == 0 {
            return false;
        }
        if let Some(own) = own {
            let older = self.order.first_key_value();
            if older.is_none_or(|(&(arrival, _), _)| arrival >= own) || now < self.spared_until {
                return false;
            }
            // A dial costs more than a checkout. If every connection went to the oldest caller, each would go to another
            // key than before as soon as all are busy, and most of the time would be spent on dialling.
            let most = u32::try_from(self.max_total).unwrap_or(u32::MAX);
            self.spared_until = now.after(TAKEN_ONCE_IN / most);
        }
        self.giving_way += 1;
        self.relax();
        true
    }

    /// A connection that gave way is closed, and its key has reported so.
    pub(super) fn gave_way(&mut self) {
        self.giving_way -= 1;
    }

    /// Nobody is served any more, and nothing gives way.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.relax();
    }

    /// Whether connections that come home have to ask [`claim`](Self::claim).
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// Slots taken, over all keys.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn first_to_dial(&self) -> Option<KeyId> {
        let (&(arrival, _), &key) = self.order.first_key_value()?;
        let overflows = self.on_full == OnFull::Overflow && arrival != Wish::NOBODY;
        (!self.closed && (overflows || self.room() > 0)).then_some(key)
    }

    fn room(&self) -> usize {
        self.max_total.saturating_sub(self.held)
    }

    /// Connections that have to give way, beside those that do already.
    fn missing(&self) -> usize {
        let wanted = match self.on_full {
            _ if self.closed => 0,
            OnFull::Overflow => self.held.saturating_sub(self.max_total),
            OnFull::Wait | OnFull::Fail => self.callers.saturating_sub(self.room()),
        };
        wanted.saturating_sub(self.giving_way)
    }

    fn relax(&mut self) {
        self.pressed &= self.missing() > 0;
    }
}

fn callers(account: Account) -> usize {
    account.wish.map_or(0, |wish| wish.callers)
}

#[cfg(test)]
impl Budget {
    pub(super) fn giving_way(&self) -> usize {
        self.giving_way
    }

    pub(super) fn assert_empty(&self) {
        assert_eq!((self.held, self.callers, self.giving_way), (0, 0, 0));
        assert!(!self.pressed);
        assert!(self.keys.is_empty() && self.order.is_empty());
    }
}
