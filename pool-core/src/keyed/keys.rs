//! Which keys there are: each has its pool from the first visit until nothing of it is left.
//!
//! A key's `Hash`, `Eq`, `Clone` and `Drop` are the user's, and so is what makes its pool. None of them runs under the
//! lock here, which knows keys by their hash and number alone: whoever looks for a key is shown those with its hash one
//! after the other, and compares them himself.

use std::any::Any;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::recipe::Recipe;
use super::status::KeyedStatus;
use crate::manager::Manager;
use crate::multiplex::{self, Layer, Share};
use crate::pool::Pool;
use crate::shared::{Debt, caught};
use crate::status::Status;
use crate::total::{Home, KeyId, Ledger, Limits, Member};

/// What all handles, checkouts and tasks of a keyed pool share.
pub(super) struct Keys<K, M: Manager> {
    recipe: Recipe<K, M>,
    pub(super) limits: Limits,
    pub(super) runtime: Handle,
    pub(super) ledger: Arc<Ledger<M>>,
    hasher: RandomState,
    /// Pools made so far.
    serials: AtomicU64,
    /// `KeyedPool`s there are; the last one to go closes all.
    handles: AtomicUsize,
    /// A key has no connection any more, or all was closed.
    pub(super) changed: Notify,
    places: Mutex<Places<K, M>>,
    me: Weak<Self>,
}

struct Places<K, M: Manager> {
    by_id: BTreeMap<KeyId, Place<K, M>>,
    /// Those that count against `max_keys`.
    kept: usize,
    /// Checkouts so far.
    uses: u64,
    closed: bool,
}

struct Place<K, M: Manager> {
    entry: Arc<Entry<K, M>>,
    /// The number of its last checkout.
    last_use: u64,
    /// Its connections are kept idle. Otherwise it gave way to a key that was used later.
    kept: bool,
    /// Its key finds it no more; what is left of it is still counted.
    removed: bool,
}

/// A key and its pool.
pub(super) struct Entry<K, M: Manager> {
    id: KeyId,
    /// Gone when it is dropped.
    key: Option<K>,
    pub(super) pool: Pool<M>,
    /// The layer that shares its connections, an `Arc<Layer<M>>`, from the first lease on. Of a type that managers need
    /// not be able to fill.
    layer: OnceLock<Box<dyn Queue>>,
    /// Raised under the lock alone: while it is held and there are none, nobody comes.
    visitors: AtomicUsize,
    ledger: Arc<Ledger<M>>,
}

/// What every layer can be asked.
trait Queue: Any + Send + Sync {
    /// All who wait for a lease or a connection, if so many do for a connection in the pool's queue.
    fn waiting(&self, in_pool: usize) -> usize;
}

impl<M: Share> Queue for Arc<Layer<M>> {
    fn waiting(&self, in_pool: usize) -> usize {
        Layer::waiting(self, in_pool)
    }
}

/// Somebody has to do with a key's pool. When the last one goes and nothing is left of it, the key is forgotten.
pub(super) struct Visit<K, M: Manager, H: Borrow<Arc<Keys<K, M>>>> {
    keys: H,
    pub(super) entry: Arc<Entry<K, M>>,
    /// He has a connection, so something is left of it.
    served: bool,
}

pub(super) type BorrowedVisit<'a, K, M> = Visit<K, M, &'a Arc<Keys<K, M>>>;
pub(super) type OwnedVisit<K, M> = Visit<K, M, Arc<Keys<K, M>>>;

/// Why somebody comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Checkout,
    /// To look after it, which is no use.
    Care,
}

/// There are no keys any more.
struct Closed;

impl<K, M> Keys<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Manager,
{
    pub(super) fn new(recipe: Recipe<K, M>, limits: Limits, runtime: Handle) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            recipe,
            limits,
            runtime,
            ledger: Ledger::new(limits),
            hasher: RandomState::new(),
            serials: AtomicU64::new(0),
            handles: AtomicUsize::new(1),
            changed: Notify::new(),
            places: Mutex::new(Places {
                by_id: BTreeMap::new(),
                kept: 0,
                uses: 0,
                closed: false,
            }),
            me: Weak::clone(me),
        })
    }

    /// The pool of a key, made if there is none; nothing if all is closed.
    #[track_caller]
    pub(super) fn visit(self: &Arc<Self>, key: &K) -> Option<BorrowedVisit<'_, K, M>> {
        let hash = self.hasher.hash_one(key);
        let (mut others, mut made) = (Vec::new(), None);
        loop {
            let Ok(met) = self.meet(hash, &others, Purpose::Checkout, made.as_ref()) else {
                return None;
            };
            match (met, &made) {
                (Some(visit), Some(made)) if Arc::ptr_eq(&visit.entry, made) => {
                    visit.entry.pool.shared().start();
                    return Some(visit);
                }
                (Some(visit), _) if visit.entry.key() == key => return Some(visit),
                (Some(visit), _) => others.push(visit.entry.id),
                (None, _) => made = Some(self.make(key, hash)),
            }
        }
    }

    /// The pool of a key, if there is one.
    pub(super) fn look_up(self: &Arc<Self>, key: &K) -> Option<BorrowedVisit<'_, K, M>> {
        let hash = self.hasher.hash_one(key);
        let mut others = Vec::new();
        while let Ok(Some(visit)) = self.meet(hash, &others, Purpose::Care, None) {
            if visit.entry.key() == key {
                return Some(visit);
            }
            others.push(visit.entry.id);
        }
        None
    }

    /// Visits a key of this hash that is not among the others; or the one that was made for it, if there is none.
    fn meet(
        self: &Arc<Self>,
        hash: u64,
        others: &[KeyId],
        purpose: Purpose,
        made: Option<&Arc<Entry<K, M>>>,
    ) -> Result<Option<BorrowedVisit<'_, K, M>>, Closed> {
        let mut debts = Vec::new();
        let entry = {
            let mut places = self.lock();
            if places.closed {
                return Err(Closed);
            }
            let met = places.next(hash, others).or_else(|| {
                let made = Arc::clone(made?);
                let id = made.id;
                places.by_id.insert(id, Place::new(made));
                Some(id)
            });
            let Some(id) = met else {
                return Ok(None);
            };
            let entry = match purpose {
                Purpose::Checkout => places.note_use(id, self.limits.max_keys, &mut debts),
                Purpose::Care => Arc::clone(&places.by_id[&id].entry),
            };
            entry.visitors.fetch_add(1, Ordering::Relaxed);
            entry
        };
        let visit = Visit::new(self, entry);
        debts.into_iter().for_each(Debt::pay);
        Ok(Some(visit))
    }

    #[track_caller]
    fn make(&self, key: &K, hash: u64) -> Arc<Entry<K, M>> {
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let id = KeyId { hash, serial };
        let home: Weak<dyn Home> = self.me.clone();
        let member = Member::new(id, Arc::clone(&self.ledger), home);
        let entry = Arc::new(Entry {
            id,
            key: Some(key.clone()),
            pool: self.recipe.pool(key, &self.runtime, member),
            layer: OnceLock::new(),
            visitors: AtomicUsize::new(0),
            ledger: Arc::clone(&self.ledger),
        });
        self.ledger.join(id, entry.pool.shared());
        entry
    }

    /// All keys that can be found.
    pub(super) fn all(self: &Arc<Self>) -> Vec<BorrowedVisit<'_, K, M>> {
        let places = self.lock();
        let present = places.by_id.values().filter(|place| !place.removed);
        let visit = |place: &Place<K, M>| {
            place.entry.visitors.fetch_add(1, Ordering::Relaxed);
            Visit::new(self, Arc::clone(&place.entry))
        };
        present.map(visit).collect()
    }

    /// Has a key's pool closed and found no more.
    pub(super) fn remove(self: &Arc<Self>, key: &K) -> bool {
        let Some(visit) = self.look_up(key) else {
            return false;
        };
        let removed = self.lock().remove(visit.entry.id);
        visit.entry.pool.close();
        removed
    }
}

impl<K, M: Manager> Keys<K, M> {
    pub(super) fn status(&self) -> KeyedStatus {
        let mut status = KeyedStatus::new(self.limits.max_total);
        self.ledger.look(|counts| status.add(counts));
        let places = self.lock();
        status.keys = places.by_id.values().filter(|place| !place.removed).count();
        status.is_closed = places.closed;
        let shared = places
            .by_id
            .values()
            .filter(|place| place.entry.is_shared());
        let shared: Vec<Arc<Entry<K, M>>> = shared.map(|place| Arc::clone(&place.entry)).collect();
        drop(places);
        for entry in shared {
            status.waiting = entry.waiting(status.waiting);
        }
        status
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }

    pub(super) fn close(&self) {
        let entries: Vec<Arc<Entry<K, M>>> = {
            let mut places = self.lock();
            places.closed = true;
            let entries = places.by_id.values().map(|place| &place.entry);
            entries.map(Arc::clone).collect()
        };
        self.ledger.close();
        for entry in entries {
            entry.pool.close();
        }
        self.changed.notify_waiters();
    }

    /// Forgets a key if nobody is there and nothing would be lost.
    fn forget(&self, id: KeyId) {
        let forgotten = self.lock().vacate(id);
        // With the manager, which is the user's.
        let _ = caught(|| drop(forgotten));
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Places<K, M>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, M: Manager> Places<K, M> {
    /// One that can be found and has this hash, and is not among the others.
    fn next(&self, hash: u64, others: &[KeyId]) -> Option<KeyId> {
        let id = |serial| KeyId { hash, serial };
        self.by_id
            .range(id(0)..=id(u64::MAX))
            .find(|(id, place)| !place.removed && !others.contains(id))
            .map(|(&id, _)| id)
    }

    /// A key is used. If there are more than may be, the least recently used one gives way.
    fn note_use(
        &mut self,
        id: KeyId,
        max_keys: Option<usize>,
        debts: &mut Vec<Debt<M>>,
    ) -> Arc<Entry<K, M>> {
        self.uses += 1;
        let place = self.by_id.get_mut(&id).expect("it was found");
        place.last_use = self.uses;
        let entry = Arc::clone(&place.entry);
        let Some(max_keys) = max_keys else {
            return entry;
        };
        if !place.kept {
            place.kept = true;
            self.kept += 1;
            debts.push(place.entry.keep(true));
        }
        while self.kept > max_keys {
            let kept = self.by_id.values_mut().filter(|place| place.kept);
            let oldest = kept
                .min_by_key(|place| place.last_use)
                .expect("so many are kept");
            oldest.kept = false;
            self.kept -= 1;
            debts.push(oldest.entry.keep(false));
        }
        entry
    }

    /// Hides a place until it is vacant; answers whether it was to be seen before.
    fn remove(&mut self, id: KeyId) -> bool {
        let Some(place) = self.by_id.get_mut(&id) else {
            return false;
        };
        self.kept -= usize::from(std::mem::take(&mut place.kept));
        !std::mem::replace(&mut place.removed, true)
    }

    /// Gives up a place if nobody is there and nothing would be lost.
    fn vacate(&mut self, id: KeyId) -> Option<Place<K, M>> {
        let place = self.by_id.get(&id)?;
        if place.entry.visitors.load(Ordering::Acquire) > 0 || !place.entry.is_vacant() {
            return None;
        }
        self.kept -= usize::from(place.kept);
        self.by_id.remove(&id)
    }
}

impl<K, M: Manager> Place<K, M> {
    fn new(entry: Arc<Entry<K, M>>) -> Self {
        Self {
            entry,
            last_use: 0,
            kept: false,
            removed: false,
        }
    }
}

impl<K, M: Manager> Entry<K, M> {
    pub(super) fn key(&self) -> &K {
        self.key.as_ref().expect("it is gone when this is")
    }

    /// Its numbers, with those among who waits who want a lease.
    pub(super) fn status(&self) -> Status {
        let mut status = self.pool.status();
        status.waiting = self.waiting(status.waiting);
        status
    }

    fn waiting(&self, in_pool: usize) -> usize {
        let layer = self.layer.get();
        layer.map_or(in_pool, |layer| layer.waiting(in_pool))
    }

    fn is_shared(&self) -> bool {
        self.layer.get().is_some()
    }

    fn is_vacant(&self) -> bool {
        self.pool.shared().lock().is_vacant()
    }

    /// Has its connections kept idle, or not.
    fn keep(&self, keep: bool) -> Debt<M> {
        let shared = self.pool.shared();
        let (min_idle, max_idle) = match keep {
            true => (shared.config.min_idle, shared.config.max_idle),
            false => (0, Some(0)),
        };
        shared.owe(|state, now, effects| {
            state.set_max_idle(max_idle.unwrap_or(usize::MAX), now, effects);
            state.set_min_idle(min_idle, now, effects);
        })
    }
}

impl<K, M: Share> Entry<K, M> {
    pub(super) fn layer(&self) -> &Arc<Layer<M>> {
        let layer: &dyn Queue = &**self.layer.get_or_init(|| {
            let limits = multiplex::Limits::of(self.pool.config());
            Box::new(Layer::new(Arc::clone(self.pool.shared()), limits))
        });
        let layer: &dyn Any = layer;
        layer.downcast_ref().expect("made above")
    }
}

impl<K, M: Manager> Drop for Entry<K, M> {
    fn drop(&mut self) {
        self.ledger.leave(self.id);
        // The key is the user's, and this may be a task of the pool's.
        let key = self.key.take();
        let _ = caught(|| drop(key));
    }
}

impl<K, M: Manager> Home for Keys<K, M>
where
    K: Send + Sync + 'static,
{
    fn vacated(&self, id: KeyId) {
        self.forget(id);
    }

    fn runtime_ended(&self) {
        self.close();
    }
}

impl<K, M: Manager> BorrowedVisit<'_, K, M> {
    /// The same, which borrows nothing.
    pub(super) fn owned(&self) -> OwnedVisit<K, M> {
        // As this visit goes on, the place is not vacated meanwhile.
        self.entry.visitors.fetch_add(1, Ordering::Relaxed);
        Visit::new(Arc::clone(self.keys), Arc::clone(&self.entry))
    }
}

impl<K, M: Manager, H: Borrow<Arc<Keys<K, M>>>> Visit<K, M, H> {
    /// Of an entry whose visitors were counted up for that.
    fn new(keys: H, entry: Arc<Entry<K, M>>) -> Self {
        Self {
            keys,
            entry,
            served: false,
        }
    }

    /// Ends with a connection in hand.
    pub(super) fn end_served(mut self) {
        self.served = true;
    }
}

impl<K, M: Manager, H: Borrow<Arc<Keys<K, M>>>> Drop for Visit<K, M, H> {
    fn drop(&mut self) {
        // Looked at after the visitor is gone: whatever empties the pool from here on sees that nobody is there.
        let was_last = self.entry.visitors.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && !self.served && self.entry.is_vacant() {
            self.keys.borrow().forget(self.entry.id);
        }
    }
}
