//! Every combination of what a manager's steps may do, cancelled at every await point; afterwards the pool is whole
//! and the peer sees no socket left.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{Check, ConnectionInfo, Event, Observer, Pool, Pooled, Recycle, Unhealthy};
use support::{Gate, Scripted, Socket, settle, silence_panics};

const SIZE: usize = 2;

/// The steps of a pool's life that somebody else has a say in.
#[derive(Clone, Copy, Debug, Default)]
struct Combination {
    connect: Gate,
    after_connect: Gate,
    check: Gate,
    /// Through `Recycle::Reset`.
    reset: Gate,
    after_checkin: Gate,
    keepalive: Gate,
    close: Gate,
}

/// A pool whose steps do as they are told, until they are told otherwise.
struct Tested {
    pool: Pool<Scripted>,
    gates: Arc<Mutex<Combination>>,
}

/// Watches, and panics at everything it sees.
struct Upset;

impl Observer for Upset {
    fn observe(&self, _: &str, _: &Event) {
        panic!("as told, by what it saw");
    }
}

impl Combination {
    /// A pool without hooks and checks.
    fn bare(self) -> Tested {
        let manager = Scripted::connecting([self.connect]);
        manager.recycles(Recycle::Reset);
        manager.resets(self.reset);
        manager.closes(self.close);
        Tested {
            pool: Pool::builder(manager).max_size(SIZE).build().unwrap(),
            gates: Arc::default(),
        }
    }

    /// A pool with everything.
    fn full(self) -> Tested {
        let gates = Arc::new(Mutex::new(self));
        let check = |gate: fn(&Combination) -> Gate| {
            let gates = Arc::clone(&gates);
            Check::future(move |_: &mut Socket, _: ConnectionInfo| {
                let gate = gate(&gates.lock().unwrap());
                Box::pin(async move { Ok::<(), Unhealthy>(gate.pass().await?) })
            })
            .timeout(Duration::from_secs(2))
        };
        let manager = Scripted::connecting([self.connect]);
        manager.recycles(Recycle::Reset);
        manager.resets(self.reset);
        manager.closes(self.close);
        let pool = Pool::builder(manager)
            .max_size(SIZE)
            .check(check(|gates| gates.after_connect).after_connect())
            .check(check(|gates| gates.check).at_checkout())
            .check(check(|gates| gates.after_checkin).at_checkin())
            .check(check(|gates| gates.keepalive).while_idle_every(Duration::from_secs(20)))
            .observer(Upset)
            .build()
            .unwrap();
        Tested { pool, gates }
    }

    fn all(steps: &[fn(&mut Self) -> &mut Gate]) -> Vec<Self> {
        steps
            .iter()
            .fold(vec![Self::default()], |combinations, step| {
                let with = |mut combination: Self, gate| {
                    *step(&mut combination) = gate;
                    combination
                };
                combinations
                    .into_iter()
                    .flat_map(|combination| Gate::ALL.map(|gate| with(combination, gate)))
                    .collect()
            })
    }
}

/// Uses the pool: one connection given back, one discarded.
async fn visit(pool: &Pool<Scripted>) {
    for discard in [false, true] {
        if let Ok(guard) = pool.checkout().timeout(Duration::from_secs(1)).await {
            tokio::task::yield_now().await;
            match discard {
                true => Pooled::discard(guard),
                false => drop(guard),
            }
        }
        tokio::time::sleep(Duration::from_secs(21)).await;
    }
}

/// Polls `visit` so many times, and then drops it wherever it is. Answers whether it was over before.
async fn visit_cancelled_after(pool: &Pool<Scripted>, polls: usize) -> bool {
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

/// All behave from now on; then every slot can be taken again, and nothing is left when the pool goes.
async fn assert_whole(Tested { pool, gates }: Tested, what: &str) {
    let manager = pool.manager();
    manager.connects([Gate::Ok]);
    manager.resets(Gate::Ok);
    manager.closes(Gate::Ok);
    *gates.lock().unwrap() = Combination::default();
    // Longer than every limit: whatever hangs is given up by then.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut guards = Vec::new();
    for taken in 0..SIZE {
        let guard = pool.checkout().timeout(Duration::from_secs(10)).await;
        guards.push(guard.unwrap_or_else(|error| {
            panic!("{what}: only {taken} of {SIZE} slots are left: {error}")
        }));
    }
    let status = pool.status();
    assert_eq!(
        (status.in_use, status.size(), status.waiting),
        (SIZE, SIZE, 0),
        "{what}: {status}"
    );
    let peer = manager.peer().clone();
    assert!(peer.most_open() <= SIZE, "{what}: too many at once");
    drop(guards);
    drop(pool);
    settle().await;
    assert_eq!(peer.open(), 0, "{what}: sockets left behind");
}

/// Every combination, cancelled at every await point. Answers how often it was cancelled.
async fn run(combinations: Vec<Combination>, pool: fn(Combination) -> Tested) -> usize {
    silence_panics();
    let mut cancelled = 0;
    for combination in combinations {
        for polls in 0.. {
            let tested = pool(combination);
            let over = visit_cancelled_after(&tested.pool, polls).await;
            cancelled += usize::from(!over);
            let what = format!("{combination:?}, dropped after {polls} polls");
            assert_whole(tested, &what).await;
            if over {
                break;
            }
        }
    }
    cancelled
}

#[tokio::test(start_paused = true)]
async fn whatever_a_manager_does_and_wherever_a_caller_goes_no_slot_and_no_socket_is_lost() {
    let combinations = Combination::all(&[|c| &mut c.connect, |c| &mut c.reset, |c| &mut c.close]);
    let cancelled = run(combinations, Combination::bare).await;
    // A matrix that cancels nothing proves nothing.
    assert!(cancelled > 125 * 4, "{cancelled}");
}

#[tokio::test(start_paused = true)]
async fn whatever_checks_and_hooks_do_on_the_way_out_no_slot_and_no_socket_is_lost() {
    let combinations = Combination::all(&[
        |c| &mut c.connect,
        |c| &mut c.after_connect,
        |c| &mut c.check,
        |c| &mut c.close,
    ]);
    let cancelled = run(combinations, Combination::full).await;
    assert!(cancelled > 625 * 4, "{cancelled}");
}

#[tokio::test(start_paused = true)]
async fn whatever_checks_and_hooks_do_on_the_way_home_no_slot_and_no_socket_is_lost() {
    let combinations = Combination::all(&[
        |c| &mut c.check,
        |c| &mut c.reset,
        |c| &mut c.after_checkin,
        |c| &mut c.keepalive,
    ]);
    let cancelled = run(combinations, Combination::full).await;
    assert!(cancelled > 625 * 4, "{cancelled}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_dropped_in_the_middle_of_anything_leaves_no_socket() {
    silence_panics();
    for combination in Combination::all(&[
        |c| &mut c.connect,
        |c| &mut c.check,
        |c| &mut c.reset,
        |c| &mut c.close,
    ]) {
        for polls in 0..6 {
            let Tested { pool, .. } = combination.full();
            let peer = pool.manager().peer().clone();
            visit_cancelled_after(&pool, polls).await;
            drop(pool);
            // The longest limit is that of a close.
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert_eq!(
                peer.open(),
                0,
                "{combination:?}, dropped after {polls} polls"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_checkouts_dropped_at_random_points_costs_no_capacity() {
    silence_panics();
    let slow = Combination {
        connect: Gate::Slow,
        check: Gate::Slow,
        reset: Gate::Slow,
        close: Gate::Slow,
        ..Combination::default()
    };
    let Tested { pool, gates } = slow.full();
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut checkouts = Vec::new();
    for _ in 0..10_000 {
        let mut checkout = Box::pin(pool.checkout_owned());
        if random(4) > 0
            && checkout
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        {
            checkouts.push(checkout);
        }
        if random(3) == 0 && !checkouts.is_empty() {
            let which = random(checkouts.len() as u64) as usize;
            drop(checkouts.swap_remove(which));
        }
        if random(50) == 0 {
            tokio::time::sleep(Duration::from_micros(random(400))).await;
        }
    }
    assert!(checkouts.len() > 1_000);
    drop(checkouts);
    // Served without any other traffic, however long that takes at this pace.
    assert!(pool.checkout().await.is_ok());
    assert_whole(Tested { pool, gates }, "after the storm").await;
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_in_a_synchronous_step_costs_the_connection_and_not_the_slot() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    silence_panics();
    let pool = Pool::builder(Scripted::default())
        .max_size(SIZE)
        .build()
        .unwrap();
    let manager = pool.manager();

    let guard = pool.checkout().await.unwrap();
    manager.panics_when_recycled(true);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(guard))).is_err());
    manager.panics_when_recycled(false);
    assert_eq!((pool.status().size(), manager.peer().open()), (0, 0));

    drop(pool.checkout().await.unwrap());
    manager.panics_when_probed(true);
    let mut checkout = Box::pin(pool.checkout());
    let polled = catch_unwind(AssertUnwindSafe(|| {
        checkout
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }));
    assert!(polled.is_err());
    drop(checkout);
    manager.panics_when_probed(false);
    assert_eq!((pool.status().size(), manager.peer().open()), (0, 0));

    let mut guard = pool.checkout().await.unwrap();
    guard.panics_when_dropped(true);
    Pooled::discard(guard);
    assert_eq!((pool.status().size(), manager.peer().open()), (0, 0));
    let gates = Arc::default();
    assert_whole(Tested { pool, gates }, "after three panics").await;
}
