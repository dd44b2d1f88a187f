//! Pools by key under one total: what is never exceeded, who is served next, and what is left behind.

#![allow(
    clippy::disallowed_methods,
    reason = "under a paused clock, tokio's instants are the pool's"
)]

mod support;

use std::collections::HashMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_core::{
    CheckoutError, Config, Dropped, KeyedBuilder, KeyedCheckoutOwned, KeyedPool, Manager, OnFull,
    OwnedPooled, Recycle, TryCheckoutError, Unhealthy,
};
use support::{Gate, SECOND, Scripted, ScriptedError, Socket, poll, settle, silence_panics};
use tokio::runtime::Handle;
use tokio::time::Instant;

type Host = u32;

/// All hosts there are, each with a script of its own, and what they see together.
#[derive(Debug, Default)]
struct World {
    hosts: Mutex<HashMap<Host, Arc<Scripted<Seen>>>>,
    all: Arc<All>,
    /// Managers made so far.
    made: AtomicUsize,
}

/// Sockets, over all hosts.
#[derive(Debug, Default)]
struct All {
    open: AtomicUsize,
    most_open: AtomicUsize,
    dialled: AtomicUsize,
}

/// Goes with each socket.
#[derive(Debug)]
struct Seen(Arc<All>);

/// Connects to one host, as its script says.
#[derive(Debug)]
struct ToHost(Arc<Scripted<Seen>>);

impl Seen {
    fn new(all: &Arc<All>) -> Self {
        all.dialled.fetch_add(1, Ordering::SeqCst);
        let open = all.open.fetch_add(1, Ordering::SeqCst) + 1;
        all.most_open.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(all))
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl World {
    fn host(&self, host: Host) -> Arc<Scripted<Seen>> {
        let all = Arc::clone(&self.all);
        let script = || Arc::new(Scripted::new().carry(move |_| Seen::new(&all)));
        Arc::clone(
            self.hosts
                .lock()
                .unwrap()
                .entry(host)
                .or_insert_with(script),
        )
    }

    fn builder(self: &Arc<Self>) -> KeyedBuilder<Host, ToHost> {
        let world = Arc::clone(self);
        KeyedPool::builder(move |&host| world.connect_to(host))
    }

    fn connect_to(&self, host: Host) -> ToHost {
        self.made.fetch_add(1, Ordering::SeqCst);
        ToHost(self.host(host))
    }

    fn open(&self, host: Host) -> usize {
        self.host(host).peer().open()
    }

    fn dialled(&self, host: Host) -> usize {
        self.host(host).peer().dialled()
    }

    fn all_open(&self) -> usize {
        self.all.open.load(Ordering::SeqCst)
    }

    fn all_dialled(&self) -> usize {
        self.all.dialled.load(Ordering::SeqCst)
    }

    fn most_open(&self) -> usize {
        self.all.most_open.load(Ordering::SeqCst)
    }
}

impl Manager for ToHost {
    type Connection = Socket<Seen>;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<Socket<Seen>, ScriptedError> {
        self.0.connect().await
    }

    fn is_dropped(&self, socket: &mut Socket<Seen>) -> bool {
        self.0.is_dropped(socket)
    }

    fn poll_dropped(&self, socket: &mut Socket<Seen>, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.0.poll_dropped(socket, cx)
    }

    fn recycle(&self, socket: &mut Socket<Seen>) -> Recycle {
        self.0.recycle(socket)
    }

    async fn close(&self, socket: Socket<Seen>) {
        self.0.close(socket).await;
    }
}

type Keyed = KeyedPool<Host, ToHost>;

fn world() -> Arc<World> {
    Arc::default()
}

/// Small numbers that are not to be had by real luck.
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

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// A checkout that has begun: it queues, unless it was served.
fn begun(pool: &Keyed, host: Host) -> Pin<Box<KeyedCheckoutOwned<Host, ToHost>>> {
    let mut checkout = Box::pin(pool.checkout_owned(&host));
    assert!(poll(&mut checkout).is_pending(), "there is room");
    checkout
}

/// All behave from now on and nobody holds anything: then nothing is left, and everything can be had again.
async fn assert_whole(pool: &Keyed, world: &World, max_total: usize, what: &str) {
    for script in world.hosts.lock().unwrap().values() {
        script.connects([Gate::Ok]);
        script.closes(Gate::Ok);
        script.recycles(Recycle::Keep);
    }
    // Longer than every limit and every pause.
    tokio::time::sleep(60 * SECOND).await;
    pool.clear_idle();
    settle().await;
    let status = pool.status();
    assert_eq!(
        (status.size(), status.waiting, status.keys),
        (0, 0, 0),
        "{what}: {status}"
    );
    assert_eq!(world.all_open(), 0, "{what}: sockets are left");
    let mut guards = Vec::new();
    for host in 0..max_total as Host {
        let guard = pool.checkout(&host).timeout(10 * SECOND).await;
        guards.push(guard.unwrap_or_else(|error| panic!("{what}: {host}: {error}")));
    }
    assert_eq!(pool.status().in_use, max_total, "{what}");
    drop(guards);
    pool.clear_idle();
    settle().await;
    assert_eq!((pool.keys().len(), world.all_open()), (0, 0), "{what}");
}

// --- limits

#[tokio::test(start_paused = true)]
async fn neither_a_key_nor_all_keys_together_ever_have_more_than_they_may() {
    let world = world();
    let (hosts, max_size, max_total) = (20, 3, 7);
    let pool = world
        .builder()
        .config(config(|config| {
            config.max_size = max_size;
            config.checkout_timeout = Some(20 * SECOND);
            config.idle_timeout = Some(SECOND);
        }))
        .max_total(max_total)
        .build()
        .unwrap();
    let gates = [
        Gate::Ok,
        Gate::Ok,
        Gate::Slow,
        Gate::Error,
        Gate::Slow,
        Gate::Never,
    ];
    for host in 0..hosts {
        let script = world.host(host);
        let from = host as usize % gates.len();
        script.connects(
            gates[from..]
                .iter()
                .chain(&gates)
                .copied()
                .cycle()
                .take(400),
        );
        script.closes([Gate::Ok, Gate::Slow, Gate::Never][host as usize % 3]);
    }
    let served = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..1_000)
        .map(|number| {
            let (pool, served) = (pool.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let mut random = Random(number);
                for _ in 0..3 {
                    let host = random.below(u64::from(hosts)) as Host;
                    let patience = Duration::from_millis(1 + random.below(5_000));
                    let checkout = tokio::time::timeout(patience, pool.checkout(&host));
                    if let Ok(Ok(guard)) = checkout.await {
                        served.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
                        match random.below(10) {
                            0 => OwnedPooled::discard(guard),
                            1 => drop(OwnedPooled::detach(guard)),
                            _ => drop(guard),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(
        served.load(Ordering::SeqCst) > 100,
        "{served:?} were served at all"
    );
    for (host, script) in world.hosts.lock().unwrap().iter() {
        let most = script.peer().most_open();
        assert!(most <= max_size, "{host} saw {most}");
    }
    assert!(world.most_open() <= max_total, "{}", world.most_open());
    assert_whole(&pool, &world, max_total, "after the crowd").await;
}

#[tokio::test(start_paused = true)]
async fn each_key_may_have_limits_of_its_own() {
    let world = world();
    let pool = world
        .builder()
        .max_size(2)
        .each(|&host, pool| match host {
            7 => pool.max_size(1),
            _ => pool,
        })
        .build()
        .unwrap();
    let _held = (
        pool.checkout(&7).await.unwrap(),
        pool.checkout(&8).await.unwrap(),
    );
    let _second = pool.checkout(&8).await.unwrap();
    drop(begun(&pool, 7));
    assert_eq!(pool.status_of(&7).unwrap().max_size, 1);
}

// --- one gives way to another

#[tokio::test(start_paused = true)]
async fn the_connection_that_was_idle_longest_gives_way_whosever_it_is() {
    let world = world();
    let pool = world.builder().max_total(3).build().unwrap();
    for host in [1, 2, 3] {
        drop(pool.checkout(&host).await.unwrap());
        tokio::time::sleep(SECOND).await;
    }
    // The first is used again, so the second is the one.
    drop(pool.checkout(&1).await.unwrap());
    let _guard = pool.checkout(&4).await.unwrap();
    assert_eq!([1, 2, 3, 4].map(|host| world.open(host)), [1, 0, 1, 1]);
    assert_eq!(pool.keys().len(), 3, "{:?}", pool.keys());
    assert_eq!(world.most_open(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_gives_way_is_closed_before_another_is_dialled() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    world.host(1).closes(Gate::Slow);
    drop(pool.checkout(&1).await.unwrap());
    let asked = Instant::now();
    let _guard = pool.checkout(&2).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::from_millis(150));
    assert_eq!(world.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_costs_no_more_than_one_connection_for_each_caller() {
    let world = world();
    let pool = world.builder().max_total(4).build().unwrap();
    world.host(1).closes(Gate::Never);
    let held: Vec<_> = futures::future::join_all((0..4).map(|_| pool.checkout(&1))).await;
    drop(held);
    assert_eq!(pool.status().idle, 4);
    let first = begun(&pool, 2);
    // Others come and go while the first still waits for the close.
    for _ in 0..10 {
        drop(begun(&pool, 3));
    }
    let status = pool.status();
    assert!(status.closing <= 2 && status.idle >= 2, "{status}");
    let asked = Instant::now();
    let _guard = first.await.unwrap();
    assert_eq!(asked.elapsed(), 5 * SECOND, "the limit of a close");
    assert_eq!(world.most_open(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_home_gives_way_at_once_to_a_caller_of_another_key() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let waiting = begun(&pool, 2);
    let asked = Instant::now();
    drop(held);
    let _guard = waiting.await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!((world.open(1), world.most_open()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_of_its_key_wants_any_more_gives_way_however_it_became_idle() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    // Dialled for one who left.
    world.host(1).connects([Gate::Slow]);
    let leaving = begun(&pool, 1);
    settle().await;
    let mut other = begun(&pool, 2);
    drop(leaving);
    let asked = Instant::now();
    let guard = (&mut other).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::from_millis(150));
    // Granted to one who leaves without having looked.
    let mut leaving = begun(&pool, 2);
    let third = begun(&pool, 3);
    drop(guard);
    settle().await;
    assert!(poll(&mut leaving).is_ready());
    let _guard = third.await.unwrap();
    assert_eq!(world.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_the_key_comes_before_one_of_another_who_came_later() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let (own, other) = (begun(&pool, 1), begun(&pool, 2));
    drop(held);
    let guard = own.await.unwrap();
    assert_eq!(guard.number(), 1);
    drop(guard);
    drop(other.await.unwrap());
    assert_eq!((world.dialled(1), world.dialled(2)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_another_key_who_came_first_is_served_first() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let (other, own) = (begun(&pool, 2), begun(&pool, 1));
    drop(held);
    drop(other.await.unwrap());
    drop(own.await.unwrap());
    assert_eq!((world.dialled(1), world.dialled(2)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_always_busy_keep_nobody_out_and_do_not_dial_for_every_checkout() {
    let world = world();
    let (hosts, max_total) = (10, 4);
    let pool = world
        .builder()
        .config(config(|config| config.checkout_timeout = None))
        .max_total(max_total)
        .build()
        .unwrap();
    let served: Arc<Vec<AtomicUsize>> = Arc::new((0..hosts).map(|_| AtomicUsize::new(0)).collect());
    let callers: Vec<_> = (0..100)
        .map(|number| {
            let (pool, served) = (pool.clone(), Arc::clone(&served));
            let host = number % hosts;
            tokio::spawn(async move {
                loop {
                    let guard = pool.checkout(&(host as Host)).await.unwrap();
                    served[host].fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    drop(guard);
                }
            })
        })
        .collect();
    let mut before = vec![0; hosts];
    for _ in 0..10 {
        // Four connections change hands four times a second, so that ten hosts need two and a half.
        tokio::time::sleep(3 * SECOND).await;
        for (host, before) in before.iter_mut().enumerate() {
            let now = served[host].load(Ordering::SeqCst);
            assert!(now > *before, "{host} was kept out");
            *before = now;
        }
    }
    let (checkouts, dials) = (before.iter().sum::<usize>(), world.all_dialled());
    assert!(checkouts > 4 * 30 * 100 * 9 / 10, "{checkouts}");
    assert!(dials <= max_total * 31 + 1, "{dials}");
    callers.iter().for_each(|caller| caller.abort());
}

#[tokio::test(start_paused = true)]
async fn spare_connections_of_two_keys_do_not_chase_each_other_away() {
    let world = world();
    let pool = world
        .builder()
        .config(config(|config| config.min_idle = 1))
        .max_total(1)
        .build()
        .unwrap();
    drop(pool.checkout(&1).await.unwrap());
    drop(pool.checkout(&2).await.unwrap());
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((world.dialled(1), world.dialled(2)), (1, 1));
    // When the one goes, the other has its turn.
    assert!(pool.remove(&2));
    settle().await;
    assert_eq!((world.open(1), world.open(2)), (1, 0));
}

// --- who is next

/// Notes who is woken, in which order.
struct Bell {
    name: &'static str,
    rung: Arc<Mutex<Vec<&'static str>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.lock().unwrap().push(self.name);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_freed_goes_to_who_has_waited_longest_over_all_keys() {
    let world = world();
    let pool = world.builder().max_total(2).build().unwrap();
    let held = (
        pool.checkout(&1).await.unwrap(),
        pool.checkout(&2).await.unwrap(),
    );
    let rung = Arc::new(Mutex::new(Vec::new()));
    // All within one instant: not the time counts, but the order.
    let callers = [("a", 3), ("b", 3), ("c", 4), ("d", 3), ("e", 5), ("f", 4)];
    let mut checkouts = HashMap::new();
    for (name, host) in callers {
        let mut checkout = Box::pin(pool.checkout_owned(&host));
        let waker = Waker::from(Arc::new(Bell {
            name,
            rung: Arc::clone(&rung),
        }));
        assert!(
            checkout
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        checkouts.insert(name, checkout);
    }
    OwnedPooled::discard(held.0);
    for (name, _) in callers {
        settle().await;
        assert_eq!(rung.lock().unwrap().pop(), Some(name));
        assert!(rung.lock().unwrap().is_empty());
        let guard = checkouts.remove(name).unwrap().await.unwrap();
        OwnedPooled::discard(guard);
    }
    drop(held.1);
}

/// How a connection turns out to be of no use to the caller who is given it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Useless {
    Dead,
    Refused,
    RefusedAfterAWhile,
}

#[tokio::test(start_paused = true)]
async fn who_was_given_a_useless_connection_keeps_his_place_over_all_keys() {
    for useless in [Useless::Dead, Useless::Refused, Useless::RefusedAfterAWhile] {
        let world = world();
        let refuses = Arc::new(AtomicBool::new(false));
        let refused = Arc::clone(&refuses);
        let verdict = move || match refused.load(Ordering::SeqCst) {
            true => Err(Unhealthy::new("as told")),
            false => Ok(()),
        };
        let pool = world
            .builder()
            .max_total(1)
            .each(move |_, pool| {
                let verdict = verdict.clone();
                match useless {
                    Useless::Dead => pool,
                    Useless::Refused => pool.before_checkout(move |_, _| verdict()),
                    Useless::RefusedAfterAWhile => pool.before_checkout_async(move |_, _| {
                        let verdict = verdict();
                        Box::pin(async move {
                            tokio::task::yield_now().await;
                            verdict
                        })
                    }),
                }
            })
            .build()
            .unwrap();
        let held = pool.checkout(&1).await.unwrap();
        let (mut first, mut second) = (begun(&pool, 1), begun(&pool, 2));
        if useless == Useless::Dead {
            world.host(1).is_watched(false);
            world.host(1).peer().hang_up_unnoticed(held.number());
        }
        refuses.store(true, Ordering::SeqCst);
        drop(held);
        for _ in 0..3 {
            assert!(poll(&mut first).is_pending(), "{useless:?}");
        }
        refuses.store(false, Ordering::SeqCst);
        assert!(poll(&mut second).is_pending());
        tokio::time::sleep(SECOND).await;
        let guard = first.await.unwrap();
        assert!(poll(&mut second).is_pending(), "he overtook: {useless:?}");
        drop(guard);
        drop(second.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_with_as_many_as_it_may_have_stands_in_nobodys_way() {
    let world = world();
    let pool = world.builder().max_size(1).max_total(2).build().unwrap();
    let _held = pool.checkout(&1).await.unwrap();
    let mut blocked = begun(&pool, 1);
    drop(
        pool.checkout(&2)
            .timeout(Duration::from_millis(1))
            .await
            .unwrap(),
    );
    assert!(poll(&mut blocked).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_dial_hangs_or_is_refused_stands_in_nobodys_way() {
    for gate in [Gate::Never, Gate::Error, Gate::Panic] {
        silence_panics();
        let world = world();
        let pool = world
            .builder()
            .config(config(|config| config.max_connecting = 1))
            .max_total(2)
            .build()
            .unwrap();
        world.host(1).connects([gate]);
        let mut blocked: Vec<_> = (0..5).map(|_| begun(&pool, 1)).collect();
        settle().await;
        for _ in 0..50 {
            drop(
                pool.checkout(&2)
                    .timeout(Duration::from_millis(1))
                    .await
                    .unwrap(),
            );
            drop(
                pool.checkout(&3)
                    .timeout(Duration::from_millis(1))
                    .await
                    .unwrap(),
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(
                blocked
                    .iter_mut()
                    .all(|checkout| poll(checkout).is_pending())
            );
        }
        drop(blocked);
        assert_whole(&pool, &world, 2, &format!("{gate:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_a_pause_after_a_failed_dial_takes_its_turn_when_it_is_over() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&2).await.unwrap();
    world.host(1).connects([Gate::Error, Gate::Ok]);
    let first = begun(&pool, 1);
    OwnedPooled::discard(held);
    settle().await;
    // ScriptedError; the room is free meanwhile.
    drop(
        pool.checkout(&3)
            .timeout(Duration::from_millis(1))
            .await
            .unwrap(),
    );
    let asked = Instant::now();
    drop(first.await.unwrap());
    assert!(
        asked.elapsed() <= Duration::from_millis(100),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_dial_begins_when_it_is_started_and_not_when_it_is_wanted() {
    let world = world();
    let pool = world
        .builder()
        .config(config(|config| {
            config.connect_timeout = SECOND;
            config.checkout_timeout = Some(60 * SECOND);
        }))
        .max_total(1)
        .build()
        .unwrap();
    world.host(2).connects([Gate::Slow]);
    let held = pool.checkout(&1).await.unwrap();
    let waiting = begun(&pool, 2);
    tokio::time::sleep(30 * SECOND).await;
    drop(held);
    assert_eq!(waiting.await.unwrap().number(), 1);
    assert_eq!(world.dialled(2), 1);
}

// --- what is not wanted any more is not done

#[tokio::test(start_paused = true)]
async fn nothing_is_closed_or_dialled_for_a_caller_who_has_left() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    drop(begun(&pool, 2));
    let timed_out = pool.checkout(&2).timeout(SECOND).await;
    assert!(matches!(timed_out, Err(CheckoutError::Timeout(_))));
    drop(held);
    settle().await;
    assert_eq!(
        (pool.status().idle, world.open(1), world.dialled(2)),
        (1, 1, 0)
    );
    assert_eq!(pool.keys(), [1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_closed_or_dialled_for_a_caller_who_was_served_by_his_own_key() {
    let world = world();
    let pool = world.builder().max_total(2).build().unwrap();
    let (one, two) = (
        pool.checkout(&1).await.unwrap(),
        pool.checkout(&2).await.unwrap(),
    );
    let second = begun(&pool, 2);
    drop(two);
    let two = second.await.unwrap();
    drop(one);
    settle().await;
    assert_eq!((world.open(1), world.dialled(2)), (1, 1));
    drop(two);
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_another_key_whose_time_is_over_absorbs_nothing_though_nobody_polls_him() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let mut late = Box::pin(pool.checkout(&2).timeout(SECOND));
    assert!(poll(&mut late).is_pending());
    let third = begun(&pool, 3);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(pool.status().waiting, 1);
    drop(held);
    third.await.unwrap();
    assert_eq!((world.dialled(2), world.dialled(3)), (0, 1));
    assert!(matches!(late.await, Err(CheckoutError::Timeout(_))));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_keeps_its_room_from_other_keys_until_it_fails_or_is_left() {
    for gate in [Gate::Slow, Gate::Error, Gate::Never] {
        let world = world();
        let pool = world.builder().max_total(1).build().unwrap();
        let guard = pool.checkout_owned(&1).await.unwrap();
        let other = begun(&pool, 2);
        world.host(1).connects([gate]);
        let renewal = OwnedPooled::renew(guard);
        if gate != Gate::Error {
            settle().await;
            assert_eq!((pool.status().connecting, world.dialled(2)), (1, 0));
        }
        match gate {
            Gate::Slow => drop(renewal),
            _ => assert!(matches!(renewal.await, Err(CheckoutError::Connect(_)))),
        }
        other.await.unwrap();
        assert_eq!((world.open(1), world.most_open()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_removed_renews_nothing_and_leaves_its_room_to_others() {
    let world = world();
    let pool = world.builder().max_total(1).build().unwrap();
    let guard = pool.checkout_owned(&1).await.unwrap();
    let other = begun(&pool, 2);
    world.host(1).connects([Gate::Never]);
    let renewal = OwnedPooled::renew(guard);
    settle().await;
    assert!(pool.remove(&1));
    assert!(matches!(renewal.await, Err(CheckoutError::Closed)));
    other.await.unwrap();
    assert_eq!((pool.keys(), world.most_open()), (vec![2], 1));
}

// --- what is left behind

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_uses_leaves_nothing_behind() {
    let world = world();
    let idle_for_a_second = config(|config| config.idle_timeout = Some(SECOND));
    let pool = world.builder().config(idle_for_a_second).build().unwrap();
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for host in 0..50 {
        drop(pool.checkout(&host).await.unwrap());
        drop(pool.checkout(&host));
        drop(pool.try_checkout(&host).unwrap());
    }
    assert_eq!((pool.keys().len(), world.all_open()), (50, 50));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(
        (pool.keys().len(), pool.status().keys, world.all_open()),
        (0, 0, 0)
    );
    settle().await;
    assert_eq!(alive(), before);
    // And it comes again as if it had never been.
    assert_eq!(pool.checkout(&7).await.unwrap().number(), 2);
    assert_eq!(world.made.load(Ordering::SeqCst), 51);
}

#[tokio::test(start_paused = true)]
async fn a_checkout_that_was_never_polled_leaves_nothing_behind() {
    let world = world();
    let pool = world.builder().build().unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    let checkout = pool.checkout(&1);
    assert_eq!(pool.keys(), [1]);
    drop(checkout);
    settle().await;
    assert!(pool.keys().is_empty());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_remembered_for_as_long_as_its_pause_lasts_and_no_longer() {
    let world = world();
    let pool = world.builder().build().unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    world.host(1).connects([Gate::Error]);
    let failed = pool.checkout(&1).timeout(Duration::from_millis(20)).await;
    let Err(CheckoutError::Timeout(timeout)) = failed else {
        panic!("{failed:?}");
    };
    assert!(timeout.last_connect_error.is_some());
    assert_eq!((pool.keys(), pool.status().size()), (vec![1], 0));
    // Nobody dials in the pause, whoever comes.
    assert!(
        pool.checkout(&1)
            .timeout(Duration::from_millis(20))
            .await
            .is_err()
    );
    assert_eq!(world.dialled(1), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    settle().await;
    assert!(pool.keys().is_empty());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_its_peer_closes_takes_its_key_with_it() {
    let world = world();
    let pool = world.builder().build().unwrap();
    drop(pool.checkout(&1).await.unwrap());
    world.host(1).peer().hang_up(1);
    settle().await;
    assert!(pool.keys().is_empty());
    assert_eq!(world.open(1), 0);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_out_or_a_caller_who_waits_keeps_the_key() {
    let world = world();
    let pool = world.builder().max_size(1).build().unwrap();
    let guard = pool.checkout(&1).await.unwrap();
    let waiting = begun(&pool, 1);
    OwnedPooled::discard(guard);
    assert_eq!(pool.keys(), [1]);
    let guard = waiting.await.unwrap();
    assert_eq!(
        (pool.keys(), world.made.load(Ordering::SeqCst)),
        (vec![1], 1)
    );
    drop(OwnedPooled::detach(guard));
    assert!(pool.keys().is_empty());
}

// --- max_keys

#[tokio::test(start_paused = true)]
async fn the_key_that_was_used_least_recently_gives_way_to_one_more_than_may_be_kept() {
    let world = world();
    let pool = world.builder().max_keys(2).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    drop(pool.checkout(&1).await.unwrap());
    drop(pool.checkout(&2).await.unwrap());
    assert_eq!(world.open(1), 2);
    drop(pool.checkout(&3).await.unwrap());
    // What was idle is closed, and what is in use when it comes home.
    assert_eq!(world.open(1), 1);
    drop(held);
    settle().await;
    assert_eq!([1, 2, 3].map(|host| world.open(host)), [0, 1, 1]);
    let mut keys = pool.keys();
    keys.sort_unstable();
    assert_eq!(keys, [2, 3]);
    // Looking after a key is no use of it.
    assert_eq!(pool.status_of(&2).unwrap().idle, 1);
    drop(pool.checkout(&4).await.unwrap());
    assert!(pool.status_of(&2).is_none());
    assert_eq!(pool.status().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_gave_way_and_is_used_again_is_the_same_pool_and_kept() {
    let world = world();
    let pool = world.builder().max_size(2).max_keys(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let other = pool.checkout(&2).await.unwrap();
    // The first key has given way; its limit still holds when it comes again.
    let again = pool.checkout(&1).await.unwrap();
    drop(begun(&pool, 1));
    assert_eq!(world.made.load(Ordering::SeqCst), 2);
    drop((held, again, other));
    settle().await;
    assert_eq!((world.open(1), world.open(2)), (2, 0));
    assert_eq!(pool.keys(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_of_a_key_that_gave_way_is_served_all_the_same() {
    let world = world();
    let pool = world.builder().max_size(1).max_keys(1).build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    let waiting = begun(&pool, 1);
    drop(pool.checkout(&2).await.unwrap());
    drop(held);
    assert_eq!(waiting.await.unwrap().number(), 1);
    settle().await;
    assert_eq!((world.open(1), world.open(2)), (0, 1));
}

// --- full

#[tokio::test(start_paused = true)]
async fn by_policy_a_caller_for_whom_there_is_no_room_is_told_at_once() {
    let world = world();
    let pool = world
        .builder()
        .max_size(2)
        .max_total(3)
        .on_full(OnFull::Fail)
        .build()
        .unwrap();
    let (first, _second) = (
        pool.checkout(&1).await.unwrap(),
        pool.checkout(&1).await.unwrap(),
    );
    // His key has as many as it may.
    let full = poll(&mut Box::pin(pool.checkout(&1)));
    let Poll::Ready(Err(CheckoutError::TooManyWaiters(status))) = full else {
        panic!("{full:?}");
    };
    assert_eq!((status.in_use, status.max_size), (2, 2));
    // All keys together have.
    let third = pool.checkout(&2).await.unwrap();
    let full = poll(&mut Box::pin(pool.checkout(&3)));
    let Poll::Ready(Err(error @ CheckoutError::TooManyWaiters(_))) = full else {
        panic!("{full:?}");
    };
    assert!(
        error.to_string().contains("3 of 3 over all keys"),
        "{error}"
    );
    assert!(matches!(
        pool.try_checkout(&3),
        Err(TryCheckoutError::Empty(_))
    ));
    assert!(!pool.keys().contains(&3));
    // One that is idle can give way, so there is room.
    drop(third);
    let third = pool.checkout(&3).await.unwrap();
    drop(first);
    let _fourth = pool.checkout(&2).await.unwrap();
    drop(third);
    assert_eq!(world.most_open(), 3);
}

#[tokio::test(start_paused = true)]
async fn by_policy_a_caller_for_whom_there_is_no_room_waits_for_a_close_but_not_for_another() {
    let world = world();
    let pool = world
        .builder()
        .max_total(1)
        .on_full(OnFull::Fail)
        .build()
        .unwrap();
    world.host(1).closes(Gate::Slow);
    drop(pool.checkout(&1).await.unwrap());
    let waiting = begun(&pool, 2);
    assert!(pool.checkout(&3).await.is_err(), "that place is taken");
    drop(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn by_policy_a_caller_for_whom_there_is_no_room_gets_one_that_is_not_kept() {
    let world = world();
    let pool = world
        .builder()
        .config(config(|config| {
            config.max_size = 2;
            config.max_connecting = 10;
        }))
        .max_total(3)
        .on_full(OnFull::Overflow)
        .build()
        .unwrap();
    let mut guards = Vec::new();
    for host in [1, 1, 1, 1, 2, 2] {
        guards.push(pool.checkout(&host).await.unwrap());
    }
    assert_eq!((pool.status().in_use, world.all_open()), (6, 6));
    let status = pool.status_of(&1).unwrap().to_string();
    assert_eq!(
        status,
        "4 in use, 0 idle, 0 connecting, 0 waiting; 6 of 3 over all keys"
    );
    for (guard, left) in guards.drain(..).zip([5, 4, 3, 3, 3, 3]) {
        drop(guard);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(world.all_open(), left);
    }
    // Three are kept over all, and no more than two of a key.
    let kept = [1, 2].map(|host| pool.status_of(&host).map_or(0, |status| status.idle));
    assert_eq!((kept, pool.status().size()), ([1, 2], 3));
    // One more than is kept: what was idle longest gives way, without being waited for.
    world.host(1).closes(Gate::Slow);
    let asked = Instant::now();
    let _guard = pool.checkout(&3).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    tokio::time::sleep(SECOND).await;
    assert_eq!([1, 2, 3].map(|host| world.open(host)), [0, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_requests_calls_pool_connections_maxsize_and_block_can_be_said() {
    // Not blocking: as many as are wanted, of which two each of two hosts are kept.
    let world = world();
    let pool = world.builder().like_requests(2, 2, false).build().unwrap();
    let mut guards = Vec::new();
    for host in [1, 1, 1, 1, 2, 2, 2] {
        guards.push(pool.checkout(&host).await.unwrap());
    }
    drop(guards);
    settle().await;
    assert_eq!([1, 2].map(|host| world.open(host)), [2, 2]);
    drop(pool.checkout(&3).await.unwrap());
    assert_eq!([1, 2, 3].map(|host| world.open(host)), [0, 2, 1]);
    // Blocking: two of a host, and the third waits.
    let world = self::world();
    let pool = world.builder().like_requests(2, 2, true).build().unwrap();
    let guards = (
        pool.checkout(&1).await.unwrap(),
        pool.checkout(&1).await.unwrap(),
    );
    let third = begun(&pool, 1);
    drop(guards.0);
    assert_eq!(third.await.unwrap().number(), 1);
    assert_eq!(world.most_open(), 2);
}

// --- without waiting

#[tokio::test(start_paused = true)]
async fn try_checkout_never_waits_and_makes_room_for_the_next_try() {
    let world = world();
    let pool = world.builder().max_total(2).build().unwrap();
    assert!(matches!(
        pool.try_checkout(&1),
        Err(TryCheckoutError::Empty(_))
    ));
    settle().await;
    drop(pool.try_checkout(&1).unwrap());
    tokio::time::sleep(SECOND).await;
    drop(pool.checkout(&2).await.unwrap());
    // The total is full; the one that was idle longest gives way, once.
    assert!(pool.try_checkout(&3).is_err());
    settle().await;
    let held = pool.try_checkout(&3).unwrap();
    assert_eq!([1, 2, 3].map(|host| world.open(host)), [0, 1, 1]);
    // Nothing is left of a try that could not be granted.
    let other = pool.try_checkout(&2).unwrap();
    assert!(pool.try_checkout(&4).is_err());
    drop((held, other));
    settle().await;
    assert_eq!([2, 3, 4].map(|host| world.dialled(host)), [1, 1, 0]);
    assert_eq!(pool.status().idle, 2);
}

// --- the end

#[tokio::test(start_paused = true)]
async fn closing_tells_who_waits_and_closes_what_is_idle_and_what_comes_home() {
    let world = world();
    let pool = world.builder().max_total(2).build().unwrap();
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let held = pool.checkout(&1).await.unwrap();
    drop(pool.checkout(&2).await.unwrap());
    world.host(3).connects([Gate::Never]);
    let dialling = begun(&pool, 3);
    let waiting = begun(&pool, 1);
    pool.close();
    pool.close();
    assert!(pool.is_closed());
    assert!(matches!(dialling.await, Err(CheckoutError::Closed)));
    assert!(matches!(waiting.await, Err(CheckoutError::Closed)));
    assert!(matches!(
        pool.checkout(&4).await,
        Err(CheckoutError::Closed)
    ));
    assert!(matches!(
        pool.try_checkout(&1),
        Err(TryCheckoutError::Closed)
    ));
    settle().await;
    assert_eq!(
        (pool.status().in_use, pool.status().size(), world.all_open()),
        (1, 1, 1)
    );
    drop(held);
    settle().await;
    assert_eq!(
        (pool.keys().len(), world.all_open(), alive()),
        (0, 0, before)
    );
}

#[tokio::test(start_paused = true)]
async fn draining_waits_until_everything_is_home_and_closed() {
    let world = world();
    let pool = world.builder().build().unwrap();
    world.host(1).closes(Gate::Slow);
    let held = pool.checkout(&1).await.unwrap();
    drop(pool.checkout(&2).await.unwrap());
    let undrained = pool.drain(SECOND).await.unwrap_err();
    assert_eq!(undrained.status.in_use, 1);
    let asked = Instant::now();
    let visitor = pool.checkout(&1);
    let drained = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(60 * SECOND).await }
    });
    tokio::time::sleep(SECOND).await;
    drop(held);
    drained.await.unwrap().unwrap();
    assert_eq!(asked.elapsed(), Duration::from_millis(1_150));
    assert_eq!(world.all_open(), 0);
    drop(visitor);
}

#[tokio::test(start_paused = true)]
async fn guards_and_checkouts_may_outlive_the_pool() {
    let world = world();
    let before = Handle::current().metrics().num_alive_tasks();
    let pool = world.builder().max_total(1).build().unwrap();
    let guard = pool.checkout(&1).await.unwrap();
    let (waiting, unpolled) = (begun(&pool, 2), pool.checkout_owned(&3));
    drop(pool.clone());
    assert!(!pool.is_closed());
    drop(pool);
    assert!(matches!(waiting.await, Err(CheckoutError::Closed)));
    assert!(unpolled.await.is_err());
    assert_eq!(guard.number(), 1);
    std::thread::spawn(move || drop(guard)).join().unwrap();
    settle().await;
    assert_eq!(world.all_open(), 0);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
    // Nor does anything hold the managers.
    assert_eq!(Arc::strong_count(&world.host(1)), 2);
}

#[tokio::test(start_paused = true)]
async fn removing_a_key_tells_who_waits_and_begins_anew() {
    let world = world();
    let pool = world.builder().max_size(1).max_total(2).build().unwrap();
    let old = pool.checkout(&1).await.unwrap();
    let waiting = begun(&pool, 1);
    assert!(pool.remove(&1));
    assert!(!pool.remove(&1));
    assert!(matches!(waiting.await, Err(CheckoutError::Closed)));
    assert!(pool.keys().is_empty());
    let new = pool.checkout(&1).await.unwrap();
    assert_eq!(world.made.load(Ordering::SeqCst), 2);
    // What is still out counts in the total.
    let other = begun(&pool, 2);
    assert_eq!((pool.status().in_use, pool.status().keys), (2, 2));
    drop(old);
    drop(other.await.unwrap());
    drop(new);
    assert_whole(&pool, &world, 2, "after a removal").await;
}

#[tokio::test(start_paused = true)]
async fn retiring_a_key_replaces_its_connections_alone() {
    let world = world();
    let pool = world.builder().build().unwrap();
    let held = pool.checkout(&1).await.unwrap();
    drop(pool.checkout(&1).await.unwrap());
    drop(pool.checkout(&2).await.unwrap());
    assert!(pool.retire(&1));
    settle().await;
    assert_eq!((world.open(1), world.open(2)), (1, 1));
    drop(held);
    settle().await;
    assert_eq!(pool.keys(), [2]);
    assert!(!pool.retire(&1));
}

#[test]
fn callers_are_told_when_the_runtime_has_ended_whatever_their_key() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let world = world();
    let pool = world
        .builder()
        .max_total(1)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    let held = futures::executor::block_on(pool.checkout(&0)).unwrap();
    let waiting: Vec<_> = (1..3_000).map(|host| begun(&pool, host)).collect();
    drop(runtime);
    for checkout in waiting {
        let outcome = futures::executor::block_on(checkout);
        assert!(matches!(outcome, Err(CheckoutError::Closed)), "{outcome:?}");
    }
    assert!(pool.is_closed());
    assert!(futures::executor::block_on(pool.checkout(&7)).is_err());
    drop(held);
    assert_eq!(
        (world.all_open(), pool.status().size(), pool.keys().len()),
        (0, 0, 0)
    );
}

#[test]
fn a_runtime_that_ends_while_thousands_wait_does_not_overflow_the_stack() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, many) = (world(), 1_000);
    let pool = world
        .builder()
        .config(config(|config| {
            config.max_size = many;
            config.max_connecting = many;
        }))
        .max_total(many)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    // Each of them lets somebody dial when it is dropped with the runtime, which dials no more.
    let guards = (0..many).map(|_| pool.checkout(&0));
    for guard in runtime.block_on(futures::future::join_all(guards)) {
        runtime.spawn(async move {
            let _guard = guard.unwrap();
            std::future::pending::<()>().await;
        });
    }
    runtime.block_on(settle());
    let waiting: Vec<_> = (1..=many as Host).map(|host| begun(&pool, host)).collect();
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || drop(runtime))
        .unwrap()
        .join()
        .unwrap();
    for checkout in waiting {
        let outcome = futures::executor::block_on(checkout);
        assert!(matches!(outcome, Err(CheckoutError::Closed)), "{outcome:?}");
    }
    assert_eq!((world.all_open(), pool.status().size()), (0, 0));
}

// --- what is the user's

/// A key that panics when told to, in each of its parts.
#[derive(Debug)]
struct Touchy(u32, Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    hash: AtomicBool,
    eq: AtomicBool,
    clone: AtomicBool,
    drop: AtomicBool,
}

fn maybe_panic(told: &AtomicBool) {
    if told.load(Ordering::SeqCst) && !std::thread::panicking() {
        panic!("as told, by a key");
    }
}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        maybe_panic(&self.1.hash);
        // All in one bucket.
        state.write_u8(0);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        maybe_panic(&self.1.eq);
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        maybe_panic(&self.1.clone);
        Self(self.0, Arc::clone(&self.1))
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        maybe_panic(&self.1.drop);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_costs_its_caller_and_nothing_else() {
    silence_panics();
    let world = world();
    let told = Arc::new(Told::default());
    let key = |number| Touchy(number, Arc::clone(&told));
    let hosts = Arc::clone(&world);
    let pool = KeyedPool::builder(move |key: &Touchy| hosts.connect_to(key.0))
        .max_total(2)
        .build()
        .unwrap();
    let (one, two) = (key(1), key(2));
    let held = pool.checkout(&one).await.unwrap();
    for part in [&told.hash, &told.eq, &told.clone] {
        part.store(true, Ordering::SeqCst);
        let panicked = catch_unwind(AssertUnwindSafe(|| drop(pool.checkout(&two))));
        assert!(panicked.is_err());
        part.store(false, Ordering::SeqCst);
        assert_eq!(pool.status().keys, 1);
        drop(pool.checkout(&two).await.unwrap());
        assert_eq!(*pool.keys(), [one.clone(), two.clone()]);
        pool.clear_idle();
        assert_eq!(pool.status().keys, 1);
    }
    // Forgotten in a task or in a caller, it panics where nobody minds.
    told.drop.store(true, Ordering::SeqCst);
    drop(held);
    drop(pool.checkout(&two).await.unwrap());
    tokio::time::sleep(3_600 * SECOND).await;
    assert_eq!((pool.status().keys, world.all_open()), (0, 0));
    told.drop.store(false, Ordering::SeqCst);
    let guards = (
        pool.checkout(&one).await.unwrap(),
        pool.checkout(&two).await.unwrap(),
    );
    assert_eq!(pool.status().in_use, 2);
    drop(guards);
}

#[tokio::test(start_paused = true)]
async fn what_makes_a_pool_may_panic_and_may_make_no_sense() {
    silence_panics();
    let broken = Arc::new(AtomicUsize::new(0));
    let (first, second) = (Arc::clone(&broken), Arc::clone(&broken));
    let pool = KeyedPool::builder(move |_: &u32| {
        assert!(
            first.load(Ordering::SeqCst) != 1,
            "as told, by what makes a manager"
        );
        Scripted::new()
    })
    .each(move |_, pool| match second.load(Ordering::SeqCst) {
        2 => panic!("as told, by what adapts a pool"),
        3 => pool.max_size(0),
        _ => pool,
    })
    .build()
    .unwrap();
    for way in [1, 2] {
        broken.store(way, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool.checkout(&7)))).is_err());
        assert!(pool.keys().is_empty());
    }
    broken.store(0, Ordering::SeqCst);
    drop(pool.checkout(&7).await.unwrap());
}

#[tokio::test]
#[should_panic = "the pool of a key makes no sense: max_size is 0"]
async fn a_pool_that_makes_no_sense_is_the_programmers_mistake() {
    let pool = KeyedPool::builder(|_: &u32| Scripted::new())
        .each(|_, pool| pool.max_size(0))
        .build()
        .unwrap();
    drop(pool.checkout(&7).await);
}

/// Calls back into the pool from everywhere.
struct Nosy(Arc<Mutex<Option<KeyedPool<u32, Nosy>>>>);

struct NosyLine(Arc<Mutex<Option<KeyedPool<u32, Nosy>>>>);

fn call_back(pool: &Mutex<Option<KeyedPool<u32, Nosy>>>) {
    let pool = pool.lock().unwrap().clone();
    if let Some(pool) = pool {
        let _ = (pool.status(), pool.keys(), pool.status_of(&1));
        let mut checkout = Box::pin(pool.checkout(&9));
        let _ = poll(&mut checkout);
    }
}

impl Drop for NosyLine {
    fn drop(&mut self) {
        call_back(&self.0);
    }
}

impl Manager for Nosy {
    type Connection = NosyLine;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<NosyLine, ScriptedError> {
        call_back(&self.0);
        Ok(NosyLine(Arc::clone(&self.0)))
    }

    fn is_dropped(&self, _: &mut NosyLine) -> bool {
        call_back(&self.0);
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_and_a_connection_may_call_back_into_the_pool_at_any_time() {
    let slot = Arc::new(Mutex::new(None::<KeyedPool<u32, Nosy>>));
    let make = Arc::clone(&slot);
    let pool = KeyedPool::builder(move |_: &u32| {
        // Not of a key that it would have to make again.
        if let Some(pool) = &*make.lock().unwrap() {
            let _ = (pool.status(), pool.keys());
        }
        Nosy(Arc::clone(&make))
    })
    .max_total(2)
    .build()
    .unwrap();
    *slot.lock().unwrap() = Some(pool.clone());
    for host in 1..20 {
        drop(pool.checkout(&host).await.unwrap());
        assert!(pool.status().size() <= 2);
    }
    *slot.lock().unwrap() = None;
    pool.clear_idle();
    settle().await;
    pool.clear_idle();
    assert_eq!((pool.status().size(), pool.keys().len()), (0, 0));
}

// --- many at once

#[tokio::test(start_paused = true)]
async fn whatever_hosts_do_and_wherever_a_caller_goes_nothing_is_lost() {
    silence_panics();
    for connect in Gate::ALL {
        for close in Gate::ALL {
            for polls in 0..14 {
                let world = world();
                let pool = world.builder().max_size(2).max_total(2).build().unwrap();
                for host in 0..3 {
                    world.host(host).connects([connect]);
                    world.host(host).closes(close);
                }
                let visits = futures::future::join_all((0..3).map(|host| {
                    let pool = &pool;
                    async move {
                        for discard in [false, true, false] {
                            let guard = pool.checkout(&host).timeout(SECOND).await;
                            tokio::time::sleep(Duration::from_micros(50)).await;
                            match guard {
                                Ok(guard) if discard => OwnedPooled::discard(guard),
                                guard => drop(guard),
                            }
                        }
                    }
                }));
                let mut visits = Box::pin(visits);
                let mut polled = 0;
                std::future::poll_fn(|cx| {
                    polled += 1;
                    match polled > polls {
                        true => Poll::Ready(()),
                        false => visits.as_mut().poll(cx).map(drop),
                    }
                })
                .await;
                drop(visits);
                let what = format!("{connect:?}, {close:?}, dropped after {polls} polls");
                assert!(world.most_open() <= 2, "{what}");
                assert_whole(&pool, &world, 2, &what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_checkouts_over_many_keys_dropped_at_random_points_costs_nothing() {
    silence_panics();
    let world = world();
    let pool = world
        .builder()
        .config(config(|config| config.max_size = 3))
        .max_total(20)
        .max_keys(50)
        .build()
        .unwrap();
    let mut random = Random(1);
    for host in 0..100 {
        let script = world.host(host);
        script.connects([
            Gate::ALL[random.below(5) as usize],
            Gate::Slow,
            Gate::Ok,
            Gate::Slow,
        ]);
        script.closes(Gate::ALL[random.below(5) as usize]);
    }
    let before = Handle::current().metrics().num_alive_tasks();
    let (mut checkouts, mut guards) = (Vec::new(), Vec::new());
    for _ in 0..10_000 {
        let host = random.below(100) as Host;
        let mut checkout = Box::pin(pool.checkout_owned(&host));
        if random.below(4) > 0 {
            match poll(&mut checkout) {
                Poll::Pending => checkouts.push(checkout),
                Poll::Ready(guard) => guards.extend(guard),
            }
        }
        if random.below(3) == 0 && !checkouts.is_empty() {
            let which = random.below(checkouts.len() as u64) as usize;
            let mut checkout = checkouts.swap_remove(which);
            if let Poll::Ready(Ok(guard)) = poll(&mut checkout) {
                guards.push(guard);
            }
        }
        if random.below(3) == 0 && !guards.is_empty() {
            let which = random.below(guards.len() as u64) as usize;
            drop(guards.swap_remove(which));
        }
        if random.below(50) == 0 {
            tokio::time::sleep(Duration::from_micros(random.below(40_000))).await;
        }
        assert!(world.most_open() <= 20);
    }
    assert!(checkouts.len() > 1_000, "{}", checkouts.len());
    drop(checkouts);
    drop(guards);
    assert_whole(&pool, &world, 20, "after the storm").await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_the_limits_hold_nobody_is_forgotten_and_nothing_is_left() {
    let world = world();
    let (max_size, max_total) = (2, 4);
    let pool = world
        .builder()
        .config(config(|config| {
            config.max_size = max_size;
            config.checkout_timeout = Some(120 * SECOND);
        }))
        .max_total(max_total)
        .max_keys(6)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut random = Random(number);
                for _ in 0..400 {
                    let host = random.below(9) as Host;
                    let mut checkout = Box::pin(pool.checkout(&host));
                    if random.below(4) == 0 {
                        let _ = poll(&mut checkout);
                        continue;
                    }
                    // Whoever is forgotten waits for two minutes, and fails here.
                    let guard = checkout.await.unwrap();
                    if random.below(3) == 0 {
                        tokio::task::yield_now().await;
                    }
                    match random.below(8) {
                        0 => OwnedPooled::discard(guard),
                        _ => drop(guard),
                    }
                    let status = pool.status();
                    assert!(status.size() <= max_total, "{status}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(world.most_open() <= max_total);
    for script in world.hosts.lock().unwrap().values() {
        assert!(script.peer().most_open() <= max_size);
    }
    pool.clear_idle();
    while !pool.keys().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        pool.clear_idle();
    }
    assert_eq!((pool.status().size(), world.all_open()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_who_come_together_share_the_pool_of_their_key() {
    let world = world();
    let pool = world.builder().max_size(1).build().unwrap();
    for _ in 0..300 {
        let together: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { drop(pool.checkout(&1).await.unwrap()) })
            })
            .collect();
        for task in together {
            task.await.unwrap();
        }
        pool.clear_idle();
    }
    assert_eq!(world.host(1).peer().most_open(), 1);
}
