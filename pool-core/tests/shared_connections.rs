//! Connections that carry several users at once, on a peer that counts what it sees.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

mod support;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pool_core::{
    Builder, Capacity, Check, CheckoutError, CloseReason, ConnectError, Dropped, Event, Lease,
    Leased, Manager, Observer, OnConnectError, Pool, Recycle, Share, SharedPool, SharedStatus,
    Spread, TryCheckoutError, Unhealthy,
};
use support::{Gate, Peer, SECOND, Scripted, ScriptedError, Socket, poll, settle, silence_panics};

/// A socket that carries several users, who are counted.
struct Line {
    socket: Socket,
    wire: Arc<Wire>,
}

struct Wire {
    capacity: Capacity,
    users: AtomicUsize,
    most_users: AtomicUsize,
}

/// What a user gets.
struct User {
    number: usize,
    wire: Arc<Wire>,
    /// Called first when it is dropped.
    last_words: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for User {
    fn drop(&mut self) {
        self.wire.users.fetch_sub(1, Ordering::SeqCst);
        if let Some(last_words) = self.last_words.take() {
            last_words();
        }
    }
}

/// As `Scripted`, with connections that carry so many.
struct Lines {
    scripted: Scripted,
    carries: AtomicUsize,
    born_draining: AtomicBool,
    share_panics: AtomicBool,
    capacity_panics: AtomicBool,
    /// What is called back from within a method.
    calls_back: OnceLock<SharedPool<Lines>>,
    /// What happens while the next connection is on its way home.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    wires: Mutex<BTreeMap<usize, Arc<Wire>>>,
}

impl Lines {
    fn carrying(users: usize) -> Self {
        Self {
            scripted: Scripted::new(),
            carries: AtomicUsize::new(users),
            born_draining: AtomicBool::new(false),
            share_panics: AtomicBool::new(false),
            capacity_panics: AtomicBool::new(false),
            calls_back: OnceLock::new(),
            meanwhile: Mutex::default(),
            wires: Mutex::default(),
        }
    }

    fn peer(&self) -> &Peer {
        self.scripted.peer()
    }

    fn wire(&self, number: usize) -> Arc<Wire> {
        Arc::clone(&self.wires.lock().unwrap()[&number])
    }

    fn capacity_of(&self, number: usize) -> Capacity {
        self.wire(number).capacity.clone()
    }

    fn call_back(&self) {
        if let Some(pool) = self.calls_back.get() {
            assert!(pool.status().connections.size() <= pool.pool().config().max_size);
            let _ = poll(&mut Box::pin(pool.lease()));
        }
    }
}

impl Manager for Lines {
    type Connection = Line;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Line, ScriptedError> {
        let socket = self.scripted.connect().await?;
        let wire = Arc::new(Wire {
            capacity: Capacity::new(self.carries.load(Ordering::SeqCst)),
            users: AtomicUsize::new(0),
            most_users: AtomicUsize::new(0),
        });
        if self.born_draining.load(Ordering::SeqCst) {
            wire.capacity.drain();
        }
        let mut wires = self.wires.lock().unwrap();
        wires.insert(socket.number(), Arc::clone(&wire));
        Ok(Line { socket, wire })
    }

    fn is_dropped(&self, line: &mut Line) -> bool {
        self.call_back();
        self.scripted.is_dropped(&mut line.socket)
    }

    fn poll_dropped(&self, line: &mut Line, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.call_back();
        self.scripted.poll_dropped(&mut line.socket, cx)
    }

    fn recycle(&self, line: &mut Line) -> Recycle {
        let users = line.wire.users.load(Ordering::SeqCst);
        assert_eq!(users, 0, "somebody still uses a connection that goes home");
        self.call_back();
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.scripted.recycle(&mut line.socket)
    }

    async fn reset(&self, line: &mut Line) -> Result<(), ScriptedError> {
        self.scripted.reset(&mut line.socket).await
    }

    async fn close(&self, line: Line) {
        self.scripted.close(line.socket).await;
    }

    fn is_permanent(&self, error: &ScriptedError) -> bool {
        self.scripted.is_permanent(error)
    }
}

impl Share for Lines {
    type Handle = User;

    fn share(&self, line: &Line) -> User {
        self.call_back();
        assert!(
            !self.share_panics.load(Ordering::SeqCst),
            "as told, when shared"
        );
        let users = line.wire.users.fetch_add(1, Ordering::SeqCst) + 1;
        line.wire.most_users.fetch_max(users, Ordering::SeqCst);
        User {
            number: line.socket.number(),
            wire: Arc::clone(&line.wire),
            last_words: None,
        }
    }

    fn capacity<'c>(&self, line: &'c Line) -> &'c Capacity {
        self.call_back();
        assert!(
            !self.capacity_panics.load(Ordering::SeqCst),
            "as told, when asked for the capacity"
        );
        &line.wire.capacity
    }
}

fn lines(carries: usize, set_up: impl FnOnce(Builder<Lines>) -> Builder<Lines>) -> Pool<Lines> {
    set_up(Pool::builder(Lines::carrying(carries)))
        .build()
        .unwrap()
}

fn shared(
    carries: usize,
    set_up: impl FnOnce(Builder<Lines>) -> Builder<Lines>,
) -> SharedPool<Lines> {
    SharedPool::new(lines(carries, set_up))
}

fn manager(pool: &SharedPool<Lines>) -> &Lines {
    pool.pool().manager()
}

fn peer(pool: &SharedPool<Lines>) -> &Peer {
    manager(pool).peer()
}

async fn leases(pool: &SharedPool<Lines>, wanted: usize) -> Vec<Leased<Lines>> {
    let mut leases = Vec::new();
    for _ in 0..wanted {
        leases.push(pool.lease().await.unwrap());
    }
    leases
}

/// A caller who has been polled once and waits.
fn waiting(pool: &SharedPool<Lines>) -> Pin<Box<Lease<Lines>>> {
    let mut lease = Box::pin(pool.lease());
    assert!(poll(&mut lease).is_pending());
    lease
}

fn got(lease: &mut Pin<Box<Lease<Lines>>>) -> Leased<Lines> {
    match poll(lease) {
        Poll::Ready(outcome) => outcome.unwrap(),
        Poll::Pending => panic!("nothing was granted"),
    }
}

/// By number, how many use each.
fn load(leases: &[Leased<Lines>]) -> BTreeMap<usize, usize> {
    let mut load = BTreeMap::new();
    for lease in leases {
        *load.entry(lease.number).or_default() += 1;
    }
    load
}

fn assert_nobody_left(pool: &SharedPool<Lines>) {
    let SharedStatus {
        connections,
        leases,
        capacity,
        waiting,
        draining,
        ..
    } = pool.status();
    assert_eq!((leases, capacity, waiting, draining), (0, 0, 0, 0));
    assert_eq!(
        (connections.in_use, connections.waiting),
        (0, 0),
        "{connections}"
    );
    for wire in manager(pool).wires.lock().unwrap().values() {
        assert_eq!(wire.users.load(Ordering::SeqCst), 0);
    }
}

/// Every connection can be had and used to the full; then the pool goes, and leaves nothing.
async fn assert_whole(pool: SharedPool<Lines>, what: &str) {
    let manager = manager(&pool);
    manager.scripted.connects([Gate::Ok]);
    manager.scripted.resets(Gate::Ok);
    manager.scripted.closes(Gate::Ok);
    manager.share_panics.store(false, Ordering::SeqCst);
    manager.capacity_panics.store(false, Ordering::SeqCst);
    // Longer than every limit: whatever hangs is given up by then.
    tokio::time::sleep(60 * SECOND).await;
    assert_nobody_left(&pool);
    let max_size = pool.pool().config().max_size;
    let carries = manager.carries.load(Ordering::SeqCst);
    let mut all = Vec::new();
    while all.len() < max_size * carries {
        let lease = pool.lease().timeout(10 * SECOND).await;
        all.push(lease.unwrap_or_else(|error| panic!("{what}: after {}: {error}", all.len())));
    }
    assert!(
        load(&all).values().all(|users| *users == carries),
        "{what}: {:?}",
        load(&all)
    );
    let peer = peer(&pool).clone();
    assert!(peer.most_open() <= max_size, "{what}: too many at once");
    drop(all);
    settle().await;
    assert_nobody_left(&pool);
    drop(pool);
    settle().await;
    assert_eq!(peer.open(), 0, "{what}: sockets left behind");
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

// --- who shares what

#[tokio::test(start_paused = true)]
async fn a_new_connection_is_opened_only_when_all_are_full() {
    let pool = shared(3, |builder| builder);
    let mut held = leases(&pool, 3).await;
    assert_eq!(peer(&pool).dialled(), 1);
    held.extend(leases(&pool, 3).await);
    assert_eq!(peer(&pool).dialled(), 2);
    held.swap_remove(0);
    held.extend(leases(&pool, 1).await);
    assert_eq!(peer(&pool).dialled(), 2);
    held.extend(leases(&pool, 1).await);
    assert_eq!(load(&held), [(1, 3), (2, 3), (3, 1)].into());
    let status = pool.status();
    assert_eq!((status.leases, status.capacity), (7, 9));
    assert_eq!((status.connections.in_use, status.connections.idle), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn fullest_first_empties_the_others() {
    let pool = shared(3, |builder| builder);
    let mut held = leases(&pool, 9).await;
    // Left are 1, 2 and 3 users.
    held.sort_by_key(|lease| lease.number);
    for index in [4, 1, 0] {
        held.remove(index);
    }
    assert_eq!(load(&held), [(1, 1), (2, 2), (3, 3)].into());
    held.extend(leases(&pool, 1).await);
    assert_eq!(load(&held), [(1, 1), (2, 3), (3, 3)].into());
}

#[tokio::test(start_paused = true)]
async fn least_loaded_evens_out() {
    let pool = SharedPool::builder(lines(3, |builder| builder))
        .spread(Spread::LeastLoaded)
        .build()
        .unwrap();
    let mut held = leases(&pool, 9).await;
    held.sort_by_key(|lease| lease.number);
    for index in [4, 1, 0] {
        held.remove(index);
    }
    assert_eq!(load(&held), [(1, 1), (2, 2), (3, 3)].into());
    held.extend(leases(&pool, 1).await);
    assert_eq!(load(&held), [(1, 2), (2, 2), (3, 3)].into());
}

#[tokio::test(start_paused = true)]
async fn max_leases_is_a_limit_beside_the_published_one() {
    let pool = SharedPool::builder(lines(100, |builder| builder))
        .max_leases(2)
        .build()
        .unwrap();
    let held = leases(&pool, 5).await;
    assert_eq!(load(&held), [(1, 2), (2, 2), (3, 1)].into());
    assert_eq!(pool.status().capacity, 6);
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_named() {
    let builder = || SharedPool::builder(lines(1, |builder| builder.max_size(4)));
    let field = |error: pool_core::ConfigError| error.field();
    assert_eq!(
        builder().max_leases(0).build().map_err(field).err(),
        Some("max_leases")
    );
    assert_eq!(
        builder().open_first(0).build().map_err(field).err(),
        Some("open_first")
    );
    assert_eq!(
        builder().open_first(5).build().map_err(field).err(),
        Some("open_first")
    );
    assert!(builder().open_first(4).max_leases(1).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn so_many_idle_connections_are_opened_before_one_is_shared() {
    let pool = lines(100, |builder| builder.min_idle(3).max_size(3));
    while pool.status().idle < 3 {
        tokio::time::sleep(SECOND).await;
    }
    let pool = SharedPool::builder(pool)
        .open_first(3)
        .spread(Spread::LeastLoaded)
        .build()
        .unwrap();
    let held = leases(&pool, 7).await;
    let mut users: Vec<usize> = load(&held).into_values().collect();
    users.sort_unstable();
    assert_eq!(users, [2, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beside_room_for_a_further_connection_that_does_not_come() {
    let pool = SharedPool::builder(lines(100, |builder| builder))
        .open_first(3)
        .build()
        .unwrap();
    let mut held = leases(&pool, 1).await;
    manager(&pool).scripted.connects([Gate::Never]);
    for _ in 0..5 {
        held.push(got(&mut Box::pin(pool.lease())));
    }
    assert_eq!(load(&held), [(1, 6)].into());
    // What a dial brings in the end is for the next.
    manager(&pool).scripted.connects([Gate::Ok]);
    tokio::time::sleep(60 * SECOND).await;
    held.push(pool.lease().await.unwrap());
    settle().await;
    held.push(pool.lease().await.unwrap());
    assert_eq!(load(&held).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_burst_dials_as_often_as_it_must_and_not_for_each_caller() {
    let pool = shared(25, |builder| builder.max_size(10));
    manager(&pool).scripted.connects([Gate::Slow]);
    let callers: Vec<_> = (0..100).map(|_| waiting(&pool)).collect();
    settle().await;
    assert_eq!(
        peer(&pool).dialled(),
        1,
        "nobody knows yet what one carries"
    );
    let mut held = Vec::new();
    for caller in callers {
        held.push(caller.await.unwrap());
    }
    assert_eq!(peer(&pool).dialled(), 4);
    assert!(load(&held).values().all(|users| *users == 25));
}

// --- fairness, cancelling

#[tokio::test(start_paused = true)]
async fn leases_are_first_come_first_served_and_nobody_overtakes() {
    let pool = shared(2, |builder| builder.max_size(1));
    let mut held = leases(&pool, 2).await;
    let mut first = waiting(&pool);
    let mut second = waiting(&pool);
    let third = waiting(&pool);
    held.pop();
    // A lease is free and granted; whoever comes now is the fourth.
    let mut fourth = waiting(&pool);
    assert!(poll(&mut second).is_pending());
    let granted = got(&mut first);
    // Who leaves passes his turn on.
    held.pop();
    drop(second);
    drop(third);
    let also_granted = got(&mut fourth);
    assert_eq!(granted.number, also_granted.number);
}

#[tokio::test(start_paused = true)]
async fn an_expired_caller_absorbs_no_lease() {
    let pool = shared(1, |builder| builder.max_size(1));
    let mut held = leases(&pool, 1).await;
    let mut hasty = Box::pin(pool.lease().timeout(SECOND));
    assert!(poll(&mut hasty).is_pending());
    let mut patient = waiting(&pool);
    tokio::time::advance(2 * SECOND).await;
    held.clear();
    drop(got(&mut patient));
    assert!(matches!(
        poll(&mut hasty),
        Poll::Ready(Err(CheckoutError::Timeout(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_caller_who_caused_the_dial_harms_nobody() {
    let pool = shared(2, |builder| builder);
    manager(&pool).scripted.connects([Gate::Slow]);
    let cause = waiting(&pool);
    let others = [waiting(&pool), waiting(&pool)];
    settle().await;
    drop(cause);
    for other in others {
        assert_eq!(other.await.unwrap().number, 1);
    }
    assert_eq!(peer(&pool).dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_nobody_waits_for_any_more_ends_up_idle() {
    let pool = shared(2, |builder| builder);
    manager(&pool).scripted.connects([Gate::Slow]);
    drop(waiting(&pool));
    settle().await;
    assert_eq!(pool.status().connections.connecting, 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.status().connections.idle, 1);
    assert_nobody_left(&pool);
    assert_eq!(got(&mut Box::pin(pool.lease())).number, 1);
}

#[tokio::test(start_paused = true)]
async fn a_freed_lease_ends_the_wait_and_the_dial_goes_on_for_others() {
    let pool = shared(1, |builder| builder);
    let held = pool.lease().await.unwrap();
    manager(&pool).scripted.connects([Gate::Slow]);
    let mut caller = waiting(&pool);
    settle().await;
    drop(held);
    assert_eq!(got(&mut caller).number, 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(pool.status().connections.size(), 2);
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_nobody_dials_for_callers_who_have_gone() {
    let pool = shared(1, |builder| builder);
    manager(&pool).scripted.connects([Gate::Error]);
    let lease = pool.lease().timeout(SECOND).await;
    assert!(lease.is_err());
    settle().await;
    assert_eq!(pool.status().connections.waiting, 0);
    let dialled = peer(&pool).dialled();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(peer(&pool).dialled(), dialled);
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_connection_goes_home_waits_for_it_and_dials_no_other() {
    let pool = shared(2, |builder| builder);
    let held = pool.lease().await.unwrap();
    let callers = Arc::new(Mutex::new(Vec::new()));
    *manager(&pool).meanwhile.lock().unwrap() = Some(Box::new({
        let (pool, callers) = (pool.clone(), Arc::clone(&callers));
        move || callers.lock().unwrap().push(waiting(&pool))
    }));
    drop(held);
    assert_eq!(got(&mut callers.lock().unwrap()[0]).number, 1);
    settle().await;
    assert_eq!(peer(&pool).dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn try_lease_takes_what_there_is_and_starts_a_dial_for_the_next() {
    let pool = shared(2, |builder| builder.max_size(1));
    assert!(matches!(
        pool.try_lease(),
        Err(TryCheckoutError::Empty(status)) if status.waiting == 0
    ));
    settle().await;
    let first = pool.try_lease().unwrap();
    let second = pool.try_lease().unwrap();
    assert_eq!(first.number, second.number);
    assert!(matches!(pool.try_lease(), Err(TryCheckoutError::Empty(_))));
    pool.pool().close();
    assert!(matches!(pool.try_lease(), Err(TryCheckoutError::Closed)));
}

// --- what a connection publishes

#[tokio::test(start_paused = true)]
async fn a_capacity_that_grows_serves_those_who_wait_at_once() {
    let pool = shared(1, |builder| builder.max_size(1));
    let mut held = leases(&pool, 1).await;
    let mut callers = [waiting(&pool), waiting(&pool), waiting(&pool)];
    let capacity = manager(&pool).capacity_of(1);
    // From a thread that knows no runtime.
    std::thread::spawn(move || capacity.publish(3))
        .join()
        .unwrap();
    held.push(got(&mut callers[0]));
    held.push(got(&mut callers[1]));
    assert!(poll(&mut callers[2]).is_pending());
    let status = pool.status();
    assert_eq!((status.leases, status.capacity, status.waiting), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_shrinks_takes_no_lease_away_and_gives_none() {
    let pool = shared(3, |builder| builder.max_size(1));
    let mut held = leases(&pool, 3).await;
    manager(&pool).capacity_of(1).publish(1);
    let mut caller = waiting(&pool);
    held.pop();
    held.pop();
    assert!(poll(&mut caller).is_pending());
    assert_eq!((pool.status().leases, pool.status().capacity), (1, 1));
    held.pop();
    // The last to leave empties it, and the one who waits fills it again.
    assert_eq!(got(&mut caller).number, 1);
    assert_eq!(peer(&pool).dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_of_zero_admits_nobody_until_it_grows() {
    let pool = shared(0, |builder| builder.max_size(2));
    let mut callers = [waiting(&pool), waiting(&pool)];
    tokio::time::sleep(SECOND).await;
    // Both were opened, and both carry nothing.
    let status = pool.status();
    assert_eq!((status.connections.in_use, status.leases), (2, 0));
    assert_eq!(peer(&pool).dialled(), 2);
    manager(&pool).capacity_of(2).publish(1);
    let lease = got(&mut callers[0]);
    assert_eq!(lease.number, 2);
    // The other is held for the other caller, and for nobody else.
    assert_eq!(pool.status().connections.in_use, 2);
    drop(callers);
    settle().await;
    assert_eq!(pool.status().connections.in_use, 1);
    drop(lease);
    settle().await;
    assert_nobody_left(&pool);
    assert_eq!(peer(&pool).open(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_published_while_idle_counts_at_the_next_lease() {
    let pool = shared(1, |builder| builder.max_size(1));
    drop(pool.lease().await.unwrap());
    manager(&pool).capacity_of(1).publish(5);
    let held = leases(&pool, 5).await;
    assert_eq!(load(&held), [(1, 5)].into());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_drains_takes_no_lease_and_is_closed_with_its_last() {
    let pool = shared(3, |builder| builder);
    let mut held = leases(&pool, 2).await;
    manager(&pool).capacity_of(1).drain();
    assert_eq!(pool.status().draining, 1);
    assert_eq!(pool.lease().await.unwrap().number, 2);
    held.pop();
    assert_eq!(peer(&pool).open(), 2, "a lease is out");
    held.pop();
    assert_eq!(peer(&pool).open(), 1);
    assert_eq!(
        (pool.status().connections.idle, pool.status().draining),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_drains_while_idle_is_closed_at_once() {
    let pool = shared(3, |builder| builder);
    drop(leases(&pool, 2).await);
    assert_eq!(pool.status().connections.idle, 1);
    manager(&pool).capacity_of(1).drain();
    assert_eq!(
        (pool.status().connections.size(), peer(&pool).open()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_gone_does_not_speak_for_its_successor() {
    let pool = shared(1, |builder| builder.max_size(1));
    let first = pool.lease().await.unwrap();
    Leased::retire(&first);
    drop(first);
    let second = pool.lease().await.unwrap();
    assert_eq!(second.number, 2);
    manager(&pool).capacity_of(1).publish(5);
    manager(&pool).capacity_of(1).drain();
    let status = pool.status();
    assert_eq!((status.capacity, status.draining), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_every_connection_away_is_not_stormed() {
    let pool = shared(1, |builder| builder);
    manager(&pool).born_draining.store(true, Ordering::SeqCst);
    let error = pool.lease().timeout(10 * SECOND).await.unwrap_err();
    assert!(error.to_string().contains("last connect error"), "{error}");
    let dialled = peer(&pool).dialled();
    assert!(dialled < 20, "{dialled} dials in 10 s");
    manager(&pool).born_draining.store(false, Ordering::SeqCst);
    assert!(pool.lease().await.is_ok());
}

#[test]
fn many_idle_connections_that_all_go_away_do_not_overflow_the_stack() {
    let test = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let many = 2_000;
            let pool = shared(1, |builder| builder.max_size(many).max_connecting(many));
            drop(leases(&pool, many).await);
            assert_eq!(pool.status().connections.idle, many);
            // Unheard: as if all had been drained in the moment in which they came home.
            let other = SharedPool::new(pool.pool().clone());
            drop(leases(&other, many).await);
            drop(other);
            for number in 1..=many {
                manager(&pool).capacity_of(number).drain();
            }
            assert_eq!(pool.status().connections.idle, many);
            assert_eq!(pool.lease().await.unwrap().number, many + 1);
            assert_eq!(peer(&pool).open(), 1);
        });
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(test).unwrap().join().unwrap();
}

// --- the pool underneath

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_lease_is_watched_as_any_other() {
    let pool = shared(3, |builder| builder);
    let held = leases(&pool, 2).await;
    drop(held);
    assert_eq!(pool.status().connections.idle, 1);
    peer(&pool).hang_up(1);
    settle().await;
    assert_eq!(
        (pool.status().connections.size(), peer(&pool).open()),
        (0, 0)
    );
    drop(leases(&pool, 1).await);
    tokio::time::sleep(11 * 60 * SECOND).await;
    assert_eq!(peer(&pool).open(), 0, "idle_timeout holds");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_in_use_does_not_lie_idle() {
    let pool = shared(3, |builder| builder);
    let held = leases(&pool, 2).await;
    peer(&pool).hang_up(1);
    drop(held);
    assert_eq!(peer(&pool).open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_never_without_a_lease_has_a_lifetime_all_the_same() {
    let pool = shared(10, |builder| {
        builder.max_lifetime(60 * SECOND).lifetime_jitter(0.0)
    });
    let mut held = std::collections::VecDeque::new();
    let mut numbers = Vec::new();
    for _ in 0..130 {
        held.push_back(pool.lease().await.unwrap());
        if held.len() > 3 {
            held.pop_front();
        }
        numbers.push(held.back().unwrap().number);
        assert!(peer(&pool).open() <= 2);
        tokio::time::sleep(SECOND).await;
    }
    assert!(numbers.is_sorted());
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3]);
    settle().await;
    assert_eq!(peer(&pool).open(), 1, "the old ones are closed");
}

#[tokio::test(start_paused = true)]
async fn one_past_its_lifetime_makes_room_for_those_who_wait() {
    let pool = shared(2, |builder| {
        builder
            .max_size(1)
            .max_lifetime(60 * SECOND)
            .lifetime_jitter(0.0)
    });
    let mut held = leases(&pool, 1).await;
    tokio::time::sleep(61 * SECOND).await;
    let mut caller = waiting(&pool);
    assert_eq!(pool.status().draining, 1);
    held.pop();
    settle().await;
    assert_eq!(got(&mut caller).number, 2);
    assert_eq!(peer(&pool).most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_caller_who_wants_a_connection_to_himself_gets_it_in_his_turn() {
    let pool = shared(2, |builder| builder.max_size(1));
    let held = leases(&pool, 2).await;
    let mut alone = Box::pin(pool.pool().checkout());
    assert!(poll(&mut alone).is_pending());
    let mut caller = waiting(&pool);
    drop(held);
    // The lease was free before the connection was.
    let lease = got(&mut caller);
    assert!(poll(&mut alone).is_pending());
    drop(lease);
    let Poll::Ready(Ok(connection)) = poll(&mut alone) else {
        panic!("the connection is not his");
    };
    let mut caller = waiting(&pool);
    drop(connection);
    settle().await;
    assert_eq!(got(&mut caller).number, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_tells_those_who_wait_and_leaves_the_leases_alone() {
    let pool = shared(2, |builder| builder.max_size(1));
    let mut held = leases(&pool, 2).await;
    let mut callers = [waiting(&pool), waiting(&pool)];
    pool.pool().close();
    settle().await;
    for caller in &mut callers {
        assert!(matches!(
            poll(caller),
            Poll::Ready(Err(CheckoutError::Closed))
        ));
    }
    assert!(matches!(pool.lease().await, Err(CheckoutError::Closed)));
    assert_eq!((pool.status().leases, pool.status().draining), (2, 1));
    held.pop();
    // Also with room there is no lease on a closed pool.
    assert!(matches!(pool.lease().await, Err(CheckoutError::Closed)));
    assert_eq!((held[0].number, peer(&pool).open()), (1, 1));
    held.pop();
    assert_eq!(peer(&pool).open(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool_and_a_lease_does_not_hold_it_open() {
    let pool = shared(1, |builder| builder.max_size(1));
    let peer = peer(&pool).clone();
    let held = pool.lease().await.unwrap();
    let mut caller = waiting(&pool);
    let exclusive = pool.pool().clone();
    drop(pool.clone());
    drop(pool);
    settle().await;
    assert!(poll(&mut caller).is_pending(), "a handle is left");
    drop(exclusive);
    settle().await;
    assert!(matches!(
        poll(&mut caller),
        Poll::Ready(Err(CheckoutError::Closed))
    ));
    drop(held);
    assert_eq!(peer.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_layers_share_one_pool() {
    let pool = shared(1, |builder| builder.max_size(2));
    let other = SharedPool::new(pool.pool().clone());
    let held = [pool.lease().await.unwrap(), other.lease().await.unwrap()];
    assert_eq!(load(&held).len(), 2);
    let mut caller = waiting(&pool);
    drop(held);
    settle().await;
    drop(got(&mut caller));
    assert_nobody_left(&pool);
    assert_nobody_left(&other);
}

// --- what an operator does to it

#[tokio::test(start_paused = true)]
async fn a_paused_pool_gives_no_lease_and_serves_those_who_wait_when_it_goes_on() {
    let pool = shared(3, |builder| builder.max_size(1));
    let held = leases(&pool, 1).await;
    pool.pool().pause();
    // There is room, on the only connection there may be.
    let mut callers = [waiting(&pool), waiting(&pool)];
    assert!(matches!(pool.try_lease(), Err(TryCheckoutError::Empty(_))));
    tokio::time::sleep(SECOND).await;
    assert!(poll(&mut callers[0]).is_pending());
    pool.pool().resume();
    settle().await;
    for caller in &mut callers {
        assert_eq!(got(caller).number, 1);
    }
    drop(held);
    settle().await;
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_pool_made_smaller_parts_with_as_many_as_are_too_many() {
    let pool = SharedPool::builder(lines(2, |builder| builder.max_size(3)))
        .spread(Spread::LeastLoaded)
        .build()
        .unwrap();
    let mut held = leases(&pool, 6).await;
    held.sort_by_key(|lease| lease.number);
    for index in [5, 3, 1] {
        held.remove(index);
    }
    assert_eq!(load(&held), [(1, 1), (2, 1), (3, 1)].into());
    pool.pool().resize(2);
    held.extend(leases(&pool, 2).await);
    assert_eq!(load(&held), [(1, 1), (2, 2), (3, 2)].into());
    assert_eq!((pool.status().draining, pool.status().capacity), (1, 4));
    held.retain(|lease| lease.number != 1);
    assert_eq!((peer(&pool).open(), pool.status().draining), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pool_made_larger_serves_those_who_wait() {
    let pool = shared(1, |builder| builder.max_size(1));
    let mut held = leases(&pool, 1).await;
    let callers: Vec<_> = (0..4).map(|_| waiting(&pool)).collect();
    pool.pool().resize(5);
    for caller in callers {
        held.push(caller.await.unwrap());
    }
    assert_eq!(load(&held).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_retired_takes_no_lease_though_it_has_room() {
    let pool = shared(3, |builder| builder);
    let held = leases(&pool, 1).await;
    pool.pool().retire_all();
    assert_eq!(pool.lease().await.unwrap().number, 2);
    assert_eq!(peer(&pool).open(), 2);
    drop(held);
    assert_eq!(peer(&pool).open(), 1);
    assert_eq!(pool.pool().metrics().closed_for(CloseReason::Retired), 1);
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_of_uses_a_connection_serves_those_who_wait_for_it_and_then_no_more() {
    let pool = shared(3, |builder| builder.max_uses(1));
    let mut callers = [waiting(&pool), waiting(&pool)];
    settle().await;
    let held = [got(&mut callers[0]), got(&mut callers[1])];
    assert_eq!(load(&held), [(1, 2)].into());
    assert_eq!(pool.lease().await.unwrap().number, 2);
    assert_eq!(peer(&pool).open(), 1, "it is closed after its use");
}

#[tokio::test(start_paused = true)]
async fn more_callers_than_may_wait_are_refused_at_once() {
    let pool = shared(2, |builder| builder.max_size(1).max_waiters(1));
    // Whom the pool can serve waits for nobody.
    let mut callers = [waiting(&pool), waiting(&pool)];
    settle().await;
    let held = [got(&mut callers[0]), got(&mut callers[1])];
    let mut caller = waiting(&pool);
    let Err(CheckoutError::TooManyWaiters(status)) = pool.lease().await else {
        panic!("one too many waits");
    };
    assert_eq!((status.waiting, status.in_use), (1, 1));
    assert_eq!(pool.pool().metrics().refused, 1);
    drop(held);
    drop(got(&mut caller));
    settle().await;
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_drained_waits_for_the_last_lease() {
    let pool = shared(2, |builder| builder);
    let held = leases(&pool, 2).await;
    let drains = tokio::spawn({
        let pool = pool.pool().clone();
        async move { pool.drain(60 * SECOND).await }
    });
    tokio::time::sleep(SECOND).await;
    assert!(!drains.is_finished());
    drop(held);
    assert!(drains.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_totals_tell_what_drained_and_what_was_retired() {
    let pool = shared(1, |builder| builder);
    let held = leases(&pool, 2).await;
    manager(&pool).capacity_of(1).drain();
    Leased::retire(&held[1]);
    drop(held);
    drop(leases(&pool, 1).await);
    // Also while it is idle.
    manager(&pool).capacity_of(3).drain();
    let metrics = pool.pool().metrics();
    assert_eq!(metrics.closed_for(CloseReason::Drained), 2);
    assert_eq!(metrics.closed_for(CloseReason::Discarded), 1);
    assert_eq!(metrics.closed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_shared_for_long_is_no_leak() {
    #[derive(Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);
    impl Observer for Warnings {
        fn observe(&self, _: &str, event: &Event) {
            if matches!(event, Event::HeldTooLong { .. }) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    let warnings = Warnings::default();
    let pool = shared(2, |builder| {
        builder.leak_warning(SECOND).observer(warnings.clone())
    });
    let held = leases(&pool, 2).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(warnings.0.load(Ordering::SeqCst), 0);
    // Of one who holds a connection for himself, there is.
    let _alone = pool.pool().checkout().await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_checked_when_it_is_opened_and_not_for_each_lease() {
    let asked = Arc::new(AtomicUsize::new(0));
    let check = {
        let asked = Arc::clone(&asked);
        Check::sync(move |line: &mut Line, _| {
            asked.fetch_add(1, Ordering::SeqCst);
            match line.socket.number() {
                1 => Err(Unhealthy::new("the first is bad")),
                _ => Ok(()),
            }
        })
    };
    let pool = shared(3, |builder| builder.check(check.at_checkout()));
    let held = leases(&pool, 3).await;
    assert_eq!(load(&held), [(2, 3)].into());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    drop(held);
    assert_eq!(pool.lease().await.unwrap().number, 2);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

// --- errors

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_the_numbers_and_the_last_connect_error() {
    let pool = shared(1, |builder| {
        builder.max_size(2).checkout_timeout(30 * SECOND)
    });
    let held = pool.lease().await.unwrap();
    manager(&pool).scripted.connects([Gate::Error]);
    let _other = waiting(&pool);
    let error = pool.lease().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("timed out after 30 s waiting for a connection (1 of 2 in use, 0 idle, ")
            && text.contains(" 2 waiting); last connect error, ")
            && text.ends_with(" ago: refused"),
        "{text}"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_takes_what_there_is_or_times_out() {
    let pool = shared(2, |builder| builder.max_size(1));
    assert!(pool.lease().timeout(Duration::ZERO).await.is_err());
    settle().await;
    let first = pool.lease().timeout(Duration::ZERO).await.unwrap();
    let second = pool.lease().timeout(Duration::ZERO).await.unwrap();
    assert!(pool.lease().timeout(Duration::ZERO).await.is_err());
    drop((first, second));
    settle().await;
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_caller_waits_until_the_peer_is_back() {
    let pool = shared(1, |builder| builder);
    manager(&pool).scripted.connects([Gate::Error]);
    let mut caller = Box::pin(pool.lease().without_timeout());
    assert!(poll(&mut caller).is_pending());
    tokio::time::sleep(3600 * SECOND).await;
    assert!(poll(&mut caller).is_pending());
    manager(&pool).scripted.connects([Gate::Ok]);
    assert!(caller.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_is_told_to_all_who_wait_if_that_was_asked_for() {
    for permanent in [true, false] {
        let pool = shared(1, |builder| match permanent {
            true => builder,
            false => builder.on_connect_error(OnConnectError::Fail),
        });
        let scripted = &manager(&pool).scripted;
        scripted.connects([Gate::Error]);
        scripted.errors_are_permanent(permanent);
        let mut callers = [waiting(&pool), waiting(&pool), waiting(&pool)];
        settle().await;
        for caller in &mut callers {
            let Poll::Ready(Err(CheckoutError::Connect(failure))) = poll(caller) else {
                panic!("not told");
            };
            assert_eq!(failure.error.to_string(), "refused");
        }
        // Until the pause is over a newcomer is told the same.
        assert!(matches!(
            poll(&mut Box::pin(pool.lease())),
            Poll::Ready(Err(CheckoutError::Connect(_)))
        ));
        scripted.connects([Gate::Ok]);
        tokio::time::sleep(60 * SECOND).await;
        assert!(pool.lease().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_share_costs_one_lease_and_retires_the_connection() {
    silence_panics();
    let pool = shared(2, |builder| builder.max_size(2));
    let held = pool.lease().await.unwrap();
    manager(&pool).share_panics.store(true, Ordering::SeqCst);
    let attempt = catch_unwind(AssertUnwindSafe(|| poll(&mut Box::pin(pool.lease()))));
    assert!(attempt.is_err(), "it is his panic");
    manager(&pool).share_panics.store(false, Ordering::SeqCst);
    assert_eq!((pool.status().leases, pool.status().draining), (1, 1));
    assert_eq!(pool.lease().await.unwrap().number, 2);
    drop(held);
    assert_eq!(peer(&pool).open(), 1);
    assert_whole(pool, "after a panic in share").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_share_of_one_who_waited_does_not_stop_the_others() {
    silence_panics();
    let pool = shared(1, |builder| builder.max_size(1));
    let held = pool.lease().await.unwrap();
    let mut unlucky = waiting(&pool);
    let mut lucky = waiting(&pool);
    drop(held);
    manager(&pool).share_panics.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut unlucky))).is_err());
    manager(&pool).share_panics.store(false, Ordering::SeqCst);
    settle().await;
    assert_eq!(got(&mut lucky).number, 2);
    assert_whole(pool, "after a panic in share").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_manager_while_a_connection_is_opened_is_told_to_those_who_wait() {
    silence_panics();
    for when_probed in [true, false] {
        for idle in [true, false] {
            let pool = shared(1, |builder| builder.max_size(1));
            if idle {
                drop(pool.lease().await.unwrap());
            }
            let panics = |panics| match when_probed {
                true => manager(&pool).scripted.panics_when_probed(panics),
                false => manager(&pool)
                    .capacity_panics
                    .store(panics, Ordering::SeqCst),
            };
            panics(true);
            let Err(CheckoutError::Connect(failure)) = pool.lease().await else {
                panic!("there is no connection to be had");
            };
            assert!(matches!(*failure.error, ConnectError::Panicked(_)));
            panics(false);
            assert_whole(pool, "after a panic in an opening").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_panics_does_not_cost_the_others_their_connection() {
    silence_panics();
    let pool = shared(2, |builder| builder);
    // With others, and as the last.
    for others in [1, 0] {
        let held = leases(&pool, others).await;
        let lease = pool.lease().await.unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _lease = lease;
            panic!("as told");
        }));
        assert!(panicked.is_err());
        drop(held);
        assert_eq!(pool.status().connections.idle, 1);
    }
    assert_eq!(peer(&pool).dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_panics_when_dropped_costs_no_lease() {
    silence_panics();
    let pool = shared(1, |builder| builder.max_size(1));
    let mut lease = pool.lease().await.unwrap();
    lease.last_words = Some(Box::new(|| panic!("as told")));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(lease))).is_err());
    assert_whole(pool, "after a handle panicked").await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_connection_is_closed_with_its_last_lease() {
    let pool = shared(3, |builder| builder);
    let mut held = leases(&pool, 3).await;
    Leased::retire(&held[1]);
    Leased::retire(&held[2]);
    assert_eq!(pool.lease().await.unwrap().number, 2);
    // What it publishes afterwards does not bring it back.
    manager(&pool).capacity_of(1).publish(100);
    assert_eq!(pool.lease().await.unwrap().number, 2);
    held.truncate(1);
    assert_eq!((held[0].number, peer(&pool).open()), (1, 2));
    held.clear();
    assert_eq!(peer(&pool).open(), 1);
}

// --- whatever is the user's may call back, from anywhere

#[tokio::test(start_paused = true)]
async fn everything_of_the_users_may_call_back_into_the_pool() {
    struct CallsBack(SharedPool<Lines>);
    impl Wake for CallsBack {
        fn wake(self: Arc<Self>) {
            let _ = self.0.status();
            let _ = self.0.try_lease();
        }
    }
    let pool = shared(2, |builder| builder.max_size(2));
    let _ = manager(&pool).calls_back.set(pool.clone());
    let waker = Waker::from(Arc::new(CallsBack(pool.clone())));
    let mut cx = Context::from_waker(&waker);
    let mut held = leases(&pool, 4).await;
    for lease in &mut held {
        let pool = pool.clone();
        lease.last_words = Some(Box::new(move || drop(pool.try_lease())));
    }
    let mut caller = Box::pin(pool.lease());
    assert!(caller.as_mut().poll(&mut cx).is_pending());
    held.pop();
    let Poll::Ready(Ok(lease)) = caller.as_mut().poll(&mut cx) else {
        panic!("nothing was granted");
    };
    let mut caller = Box::pin(pool.lease());
    assert!(caller.as_mut().poll(&mut cx).is_pending());
    manager(&pool).capacity_of(1).publish(5);
    drop((caller, lease, held));
    settle().await;
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_does_not_stop_the_others() {
    silence_panics();
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as told");
        }
    }
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let pool = shared(1, |builder| builder.max_size(1));
    let held = pool.lease().await.unwrap();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let (panics, wakes) = (
        Waker::from(Arc::new(Panics)),
        Waker::from(Arc::clone(&woken)),
    );
    let (mut first, mut second) = (Box::pin(pool.lease()), Box::pin(pool.lease()));
    assert!(
        first
            .as_mut()
            .poll(&mut Context::from_waker(&panics))
            .is_pending()
    );
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(&wakes))
            .is_pending()
    );
    manager(&pool).capacity_of(1).publish(3);
    assert!(woken.0.load(Ordering::SeqCst));
    drop((got(&mut first), got(&mut second), held));
    settle().await;
    assert_nobody_left(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_moved_to_another_task_wakes_that_one() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let pool = shared(1, |builder| builder.max_size(1));
    let held = pool.lease().await.unwrap();
    let mut caller = waiting(&pool);
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    assert!(
        caller
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(held);
    assert!(woken.0.load(Ordering::SeqCst));
}

#[test]
fn a_lease_goes_home_on_any_thread_with_and_without_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = shared(1, |builder| {
        builder.max_size(1).runtime(runtime.handle().clone())
    });
    // Another executor throughout.
    let held = futures::executor::block_on(pool.lease()).unwrap();
    let (sent, received) = std::sync::mpsc::channel();
    let waits = pool.clone();
    let thread = std::thread::spawn(move || {
        sent.send(()).unwrap();
        futures::executor::block_on(waits.lease()).map(|lease| lease.number)
    });
    received.recv().unwrap();
    while pool.status().waiting == 0 {
        std::thread::yield_now();
    }
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), 1);
    let held = futures::executor::block_on(pool.lease()).unwrap();
    let peer = peer(&pool).clone();
    drop(runtime);
    // The pool has ended with its runtime; a lease has not.
    assert!(futures::executor::block_on(pool.lease()).is_err());
    assert_eq!(held.number, 1);
    drop(held);
    assert_eq!(peer.open(), 0);
}

#[test]
fn who_waits_for_a_lease_is_told_when_the_runtime_ends() {
    for limit in [None, Some(60 * SECOND)] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = shared(1, |builder| {
            builder.max_size(1).runtime(runtime.handle().clone())
        });
        let held = futures::executor::block_on(pool.lease()).unwrap();
        let waits = pool.clone();
        let (sent, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let lease = match limit {
                None => waits.lease().without_timeout(),
                Some(limit) => waits.lease().timeout(limit),
            };
            let _ = sent.send(futures::executor::block_on(lease).map(drop));
        });
        while pool.status().waiting == 0 {
            std::thread::yield_now();
        }
        drop(runtime);
        let told = received.recv_timeout(Duration::from_secs(60));
        assert!(matches!(told, Ok(Err(CheckoutError::Closed))), "{told:?}");
        drop(held);
        assert_eq!(peer(&pool).open(), 0);
    }
}

#[test]
fn a_lease_in_a_thread_local_goes_home_when_the_thread_ends() {
    thread_local! {
        static LEASES: std::cell::RefCell<Vec<Leased<Lines>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for retire in [false, true] {
        let pool = shared(1, |builder| {
            builder.max_size(2).runtime(runtime.handle().clone())
        });
        let lease = runtime.block_on(pool.lease()).unwrap();
        let alone = runtime.block_on(pool.pool().checkout()).unwrap();
        let callers = [waiting(&pool), waiting(&pool)];
        let handle = runtime.handle().clone();
        std::thread::spawn(move || {
            if retire {
                Leased::retire(&lease);
            }
            LEASES.with_borrow_mut(|leases| leases.push(lease));
            // Set up after it, and so taken down before.
            let _entered = handle.enter();
            futures::executor::block_on(tokio::time::sleep(Duration::from_millis(1)));
        })
        .join()
        .unwrap();
        drop(alone);
        // With the connection gone there is room for two, and that was found out on the thread that ended.
        for caller in callers {
            let lease = runtime.block_on(caller).unwrap();
            assert!(!retire || lease.number > 1);
        }
    }
}

// --- storms

async fn storm(pool: &SharedPool<Lines>, callers: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut random = Random(seed as u64 + 1);
            for _ in 0..5 {
                let patience = Duration::from_micros(random.below(40_000));
                let lease = tokio::time::timeout(patience, pool.lease()).await;
                if let Ok(lease) = lease {
                    let lease = lease.unwrap();
                    tokio::time::sleep(Duration::from_micros(random.below(5_000))).await;
                    if random.below(50) == 0 {
                        Leased::retire(&lease);
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_some_of_whom_leave_never_overload_a_connection() {
    for spread in [Spread::FullestFirst, Spread::LeastLoaded] {
        let pool = SharedPool::builder(lines(7, |builder| builder.max_size(4)))
            .spread(spread)
            .build()
            .unwrap();
        manager(&pool)
            .scripted
            .connects([Gate::Ok, Gate::Slow, Gate::Error, Gate::Ok]);
        storm(&pool, 1_000).await;
        let mut most = 0;
        for wire in manager(&pool).wires.lock().unwrap().values() {
            most = most.max(wire.most_users.load(Ordering::SeqCst));
        }
        assert_eq!(most, 7, "as many as it carries, and never more");
        assert_eq!(peer(&pool).most_open(), 4);
        assert_whole(pool, "after a thousand callers").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_no_connection_is_overloaded_and_no_lease_lost() {
    for round in 0..10 {
        let pool = shared(3, |builder| {
            builder
                .max_size(3)
                .backoff(Duration::from_micros(50), Duration::from_micros(100))
        });
        let publisher = tokio::spawn({
            let pool = pool.clone();
            async move {
                let mut random = Random(round + 1);
                for _ in 0..200 {
                    tokio::time::sleep(Duration::from_micros(50)).await;
                    let wires: Vec<_> = manager(&pool)
                        .wires
                        .lock()
                        .unwrap()
                        .values()
                        .cloned()
                        .collect();
                    let Some(wire) = wires.last() else { continue };
                    match random.below(10) {
                        0 => wire.capacity.drain(),
                        // Never above 3, so that the count below means something.
                        some => wire.capacity.publish(some as usize % 4),
                    }
                }
                for wire in manager(&pool).wires.lock().unwrap().values() {
                    wire.capacity.publish(3);
                }
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        for seed in 0..8 {
            let pool = pool.clone();
            tasks.spawn(async move {
                let mut random = Random(round * 100 + seed + 1);
                for _ in 0..200 {
                    let patience = Duration::from_micros(random.below(500));
                    if let Ok(lease) = tokio::time::timeout(patience, pool.lease()).await {
                        let _lease = lease.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        publisher.await.unwrap();
        for wire in manager(&pool).wires.lock().unwrap().values() {
            assert!(wire.most_users.load(Ordering::SeqCst) <= 3);
        }
        assert!(peer(&pool).most_open() <= 3);
        let started = Instant::now();
        while pool.status().connections.in_use + pool.status().connections.waiting > 0 {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "{}",
                pool.status()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_nobody_left(&pool);
        let mut all = Vec::new();
        for _ in 0..9 {
            all.push(pool.lease().await.unwrap());
        }
        let peer = peer(&pool).clone();
        drop((all, pool));
        while peer.open() > 0 {
            assert!(started.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_leases_dropped_at_random_points_costs_no_capacity() {
    silence_panics();
    let pool = shared(3, |builder| builder.max_size(2));
    let scripted = &manager(&pool).scripted;
    scripted.connects([Gate::Slow]);
    scripted.recycles(Recycle::Reset);
    scripted.resets(Gate::Slow);
    scripted.closes(Gate::Slow);
    let mut random = Random(1);
    let mut callers = Vec::new();
    let mut held = Vec::new();
    for _ in 0..10_000 {
        let mut lease = Box::pin(pool.lease());
        if random.below(4) > 0 {
            match poll(&mut lease) {
                Poll::Ready(lease) => held.push(lease.unwrap()),
                Poll::Pending => callers.push(lease),
            }
        }
        if random.below(3) == 0 && !callers.is_empty() {
            let which = random.below(callers.len() as u64) as usize;
            drop(callers.swap_remove(which));
        }
        if random.below(5) == 0 && !callers.is_empty() {
            let which = random.below(callers.len() as u64) as usize;
            if let Poll::Ready(lease) = poll(&mut callers[which]) {
                drop(callers.swap_remove(which));
                held.extend(lease);
            }
        }
        if random.below(3) == 0 && !held.is_empty() {
            let which = random.below(held.len() as u64) as usize;
            let lease: Leased<Lines> = held.swap_remove(which);
            if random.below(20) == 0 {
                Leased::retire(&lease);
            }
        }
        if random.below(50) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(200))).await;
        }
        assert!(peer(&pool).open() <= 2);
    }
    assert!(callers.len() > 1_000);
    drop((callers, held));
    assert_whole(pool, "after the storm").await;
}

/// Uses the pool: one lease given back, one retired.
async fn visit(pool: &SharedPool<Lines>) {
    for retire in [false, true] {
        if let Ok(lease) = pool.lease().timeout(SECOND).await {
            let other = pool.lease().timeout(SECOND).await;
            tokio::task::yield_now().await;
            if retire {
                Leased::retire(&lease);
            }
            drop(lease);
            drop(other);
        }
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
}

/// Polls `visit` so many times, and then drops it wherever it is. Answers whether it was over before.
async fn visit_cancelled_after(pool: &SharedPool<Lines>, polls: usize) -> bool {
    let mut visit = pin!(visit(pool));
    let mut polled = 0;
    std::future::poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        visit.as_mut().poll(cx).map(|()| true)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn whatever_a_manager_does_and_wherever_a_caller_goes_nothing_is_lost() {
    silence_panics();
    let mut cancelled = 0;
    for connect in Gate::ALL {
        for check_in in Gate::ALL {
            for carries in [1, 2] {
                for polls in 0.. {
                    let pool = shared(carries, |builder| builder.max_size(2));
                    let scripted = &manager(&pool).scripted;
                    scripted.connects([connect]);
                    scripted.recycles(Recycle::Reset);
                    scripted.resets(check_in);
                    scripted.closes(check_in);
                    let over = visit_cancelled_after(&pool, polls).await;
                    cancelled += usize::from(!over);
                    let what = format!(
                        "{connect:?}, {check_in:?}, {carries}, dropped after {polls} polls"
                    );
                    assert_whole(pool, &what).await;
                    if over {
                        break;
                    }
                }
            }
        }
    }
    // A matrix that cancels nothing proves nothing.
    assert!(cancelled > 50 * 3, "{cancelled}");
}
