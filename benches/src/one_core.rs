//! Work on one core: where the kernel puts two threads that wake each other makes more of a difference than what they do.

use std::panic::resume_unwind;
use std::thread;

/// Does it on a thread that may run on one core alone, as may all threads that it starts; where that cannot be had, anywhere.
pub fn on_one_core<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            stay();
            work()
        });
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(target_os = "linux")]
fn stay() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    // The last, as the first has most interrupts to serve.
    let cores = (0..CpuSet::MAX_CPU).rev();
    if let Some(core) = cores.into_iter().find(|&core| allowed.is_set(core)) {
        let mut one = CpuSet::new();
        one.set(core);
        let _ = sched_setaffinity(None, &one);
    }
}

#[cfg(not(target_os = "linux"))]
fn stay() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn cores() -> u32 {
        rustix::thread::sched_getaffinity(None).unwrap().count()
    }

    #[test]
    fn whatever_is_started_there_stays_there_and_nobody_else() {
        let before = cores();
        let there = on_one_core(|| (cores(), thread::spawn(cores).join().unwrap()));
        assert_eq!(there, (1, 1));
        assert_eq!(cores(), before);
    }
}
