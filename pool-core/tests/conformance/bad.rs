//! Each fault is found by the rules that it breaks, and by no other; the first of them names the method.

use std::sync::Arc;
use std::time::Duration;

use pool_core::testkit::Peer;
use pool_core::testkit::conformance::Rule::{self, *};
use pool_core::testkit::conformance::{Report, Subject, Verdict};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::faulty::{Connection, Fault, Faulty};
use crate::support::silence_panics;

/// What is wrong, the method at fault, and the rules that are broken, in their order.
const FOUND: &[(Fault, &str, &[Rule])] = &[
    (Fault::ConnectsAtTheFirstUse, "connect", &[ConnectConnects]),
    (Fault::FailsToConnect, "connect", &[ConnectConnects]),
    (
        Fault::LeaksCancelledDials,
        "connect",
        &[CancelledDialLeavesNothing],
    ),
    (Fault::LeaksDialsGivenUp, "connect", &[SilenceIsBorne]),
    (Fault::BlocksUntilAnswered, "connect", &[SilenceIsBorne]),
    (
        Fault::IsBornDead,
        "is_dropped",
        &[
            FreshIsAlive,
            LookingChangesNothing,
            BudgetIsNoExcuse,
            OrderIsKept,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
        ],
    ),
    (Fault::DiesOfLooks, "is_dropped", &[LookingChangesNothing]),
    (
        Fault::EatsWhatItLooksAt,
        "is_dropped",
        &[LookingChangesNothing],
    ),
    (
        Fault::BlocksInALook,
        "is_dropped",
        &[
            FreshIsAlive,
            LookingChangesNothing,
            DeadStaysDead,
            KernelIsAsked,
            UnaskedBytesAreNoticed,
            BudgetIsNoExcuse,
            OrderIsKept,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
        ],
    ),
    (
        Fault::SeesNoEnd,
        "poll_dropped",
        &[
            HangUpWakes,
            DeadStaysDead,
            KernelIsAsked,
            UnaskedBytesAreNoticed,
            BudgetIsNoExcuse,
            PoolEvicts,
        ],
    ),
    (
        Fault::ForgetsTheEnd,
        "is_dropped",
        &[DeadStaysDead, UnaskedBytesAreNoticed],
    ),
    (Fault::WaitsForTheReactor, "is_dropped", &[KernelIsAsked]),
    (
        Fault::IgnoresBytes,
        "poll_dropped",
        &[UnaskedBytesAreNoticed],
    ),
    (Fault::LiesOnASpentBudget, "is_dropped", &[BudgetIsNoExcuse]),
    (
        Fault::WakesNobody,
        "poll_dropped",
        &[HangUpWakes, UnaskedBytesAreNoticed, PoolEvicts],
    ),
    (Fault::WakesWhoCameFirst, "poll_dropped", &[HangUpWakes]),
    (Fault::WakesOneOfAll, "poll_dropped", &[PoolEvicts]),
    (
        Fault::WakesAllTheTime,
        "poll_dropped",
        &[NothingWakesNobody],
    ),
    (
        Fault::WakesNobodyOnASpentBudget,
        "poll_dropped",
        &[BudgetIsNoExcuse],
    ),
    (
        Fault::DiscardsEverything,
        "recycle",
        &[OrderIsKept, PoolEvicts],
    ),
    (
        Fault::LetsNothingIdle,
        "idle_limit",
        &[OrderIsKept, PoolEvicts],
    ),
    (
        Fault::Panics("is_unsure"),
        "is_unsure",
        &[FreshIsAlive, NothingPanics],
    ),
    (Fault::ResetsInVain, "reset", &[OrderIsKept, PoolEvicts]),
    (Fault::KeepsEverything, "recycle", &[AbandonedIsNotKept]),
    (
        Fault::NeverCloses,
        "close",
        &[
            CloseCloses,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
        ],
    ),
    (
        Fault::KeepsWhatItCloses,
        "close",
        &[
            CloseCloses,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
        ],
    ),
    (Fault::ClosesLater, "close", &[CloseCloses, MaxSizeHolds]),
    (Fault::LeaksAClosePartWay, "close", &[CloseCloses]),
    (
        Fault::KeepsWhatIsDropped,
        "the connection's drop",
        &[DropCloses],
    ),
    (
        Fault::Panics("connect"),
        "connect",
        &[ConnectConnects, NothingPanics],
    ),
    (
        Fault::Panics("is_dropped"),
        "is_dropped",
        &[
            FreshIsAlive,
            LookingChangesNothing,
            DeadStaysDead,
            KernelIsAsked,
            UnaskedBytesAreNoticed,
            BudgetIsNoExcuse,
            OrderIsKept,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
            NothingPanics,
        ],
    ),
    (
        Fault::Panics("poll_dropped"),
        "poll_dropped",
        &[
            FreshIsAlive,
            HangUpWakes,
            NothingWakesNobody,
            DeadStaysDead,
            UnaskedBytesAreNoticed,
            BudgetIsNoExcuse,
            OrderIsKept,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
            NothingPanics,
        ],
    ),
    (
        Fault::Panics("recycle"),
        "recycle",
        &[
            OrderIsKept,
            AbandonedIsNotKept,
            PoolEvicts,
            MaxSizeHolds,
            DroppedPoolLeavesNothing,
            NothingPanics,
        ],
    ),
    (
        Fault::Panics("reset"),
        "reset",
        &[OrderIsKept, AbandonedIsNotKept, PoolEvicts, NothingPanics],
    ),
    (
        Fault::Panics("close"),
        "close",
        &[CloseCloses, NothingPanics],
    ),
    (
        Fault::Panics("the connection's drop"),
        "the connection's drop",
        &[ConnectConnects, NothingPanics],
    ),
];

fn subject(fault: Fault) -> Subject<Faulty> {
    let peer = Peer::default();
    let dialled = peer.clone();
    Subject::new(move || Faulty::new(fault, &dialled), peer)
        .exact()
        .use_once(Connection::ask)
        // The peer is in this process: whatever it does is done at once.
        .limit(Duration::from_millis(500))
}

async fn check(fault: Fault) -> Report {
    subject(fault).check().await
}

#[tokio::test]
async fn a_manager_without_a_fault_keeps_every_rule() {
    let report = check(Fault::None).await;
    report.assert();
    assert_eq!(report.not_asked().count(), 0, "{report}");
}

#[tokio::test]
async fn each_fault_is_found_by_the_rules_it_breaks_and_named_after_its_method() {
    silence_panics();
    let mut checks = JoinSet::new();
    for (fault, method, rules) in FOUND {
        checks.spawn(async move { (fault, method, rules, check(*fault).await) });
    }
    while let Some(checked) = checks.join_next().await {
        let (fault, method, rules, report) = checked.unwrap();
        let broken: Vec<_> = report.broken().map(|(rule, _)| rule).collect();
        assert_eq!(broken, **rules, "{fault:?}\n{report}");
        let (_, first) = report.broken().next().unwrap();
        assert_eq!(first.method(), *method, "{fault:?}\n{report}");
    }
}

#[test]
fn there_is_a_fault_for_every_rule() {
    for rule in Rule::ALL {
        assert!(
            FOUND.iter().any(|(_, _, broken)| broken.contains(&rule)),
            "nobody breaks {rule:?}, so it may be a check that cannot fail"
        );
    }
}

#[tokio::test]
async fn the_table_names_the_rule_the_method_what_was_seen_and_the_remedy() {
    let report = check(Fault::KeepsEverything).await;
    let table = report.to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "conformance::faulty::Faulty: 18 rules kept, 1 broken, 0 not asked"
    );
    assert_eq!(
        lines[1],
        "  kept       the server sees the connection that `connect` brings"
    );
    assert_eq!(
        lines[15..19],
        [
            "  BROKEN     a connection whose request was left half way is not kept",
            "               recycle: kept a connection cancelled after poll 1 of `use_once`, and the next user failed: \
             this was the answer to another question",
            "               remedy: mark the connection before a request is sent, clear the mark when its answer was \
             read, and let `recycle` discard what is marked",
            "               why: see Rule::AbandonedIsNotKept",
        ]
    );
}

#[tokio::test]
async fn a_close_that_is_given_up_is_told_from_one_that_ends() {
    for (fault, seen) in [
        (Fault::LeaksAClosePartWay, "close: given up after poll 1, "),
        (Fault::KeepsWhatItCloses, "close: it was over, and "),
    ] {
        let report = check(fault).await;
        let (_, broken) = report.broken().next().unwrap();
        assert!(broken.to_string().starts_with(seen), "{broken}");
    }
}

#[tokio::test]
async fn a_crowd_that_nobody_serves_is_told_why() {
    let report = check(Fault::NeverCloses).await;
    let Verdict::Broken(fault) = report.verdict(Rule::MaxSizeHolds) else {
        panic!("{report}");
    };
    let seen = "close: nobody of a crowd was served after 500ms (0 of 4 in use, 0 idle, 0 connecting, 4 closing, ";
    assert!(fault.to_string().starts_with(seen), "{fault}");
}

#[tokio::test]
#[should_panic(expected = "remedy: ")]
async fn a_report_of_a_broken_rule_can_be_asserted() {
    check(Fault::FailsToConnect).await.assert();
}

#[tokio::test]
async fn what_cannot_be_asked_says_why() {
    let report = check(Fault::FailsToConnect).await;
    let why = "there is no connection that the server sees";
    assert_eq!(*report.verdict(Rule::DropCloses), Verdict::NotAsked(why));
}

#[tokio::test]
async fn a_destructor_that_blocks_does_not_block_the_check() {
    let subject = subject(Fault::BlocksOnceLookedAt).limit(Duration::from_millis(50));
    let report = subject.check().await;
    let Verdict::Broken(fault) = report.verdict(Rule::FreshIsAlive) else {
        panic!("{report}");
    };
    assert_eq!(
        fault.to_string(),
        "a destructor: it has blocked its thread for 50ms"
    );
}

#[test]
#[should_panic(expected = "limit: nothing happens in 0ns")]
fn a_check_without_time_is_refused() {
    let _ = subject(Fault::None).limit(Duration::ZERO);
}

#[tokio::test]
async fn a_check_that_nobody_waits_for_ends() {
    let peer = Peer::default();
    let (dialled, gone) = (peer.clone(), Arc::new(()));
    let here = Arc::clone(&gone);
    let manager = move || {
        let _here = &here;
        Faulty::new(Fault::None, &dialled)
    };
    let check = Subject::new(manager, peer).check();
    assert!(timeout(Duration::from_millis(20), check).await.is_err());
    while Arc::strong_count(&gone) > 1 {
        sleep(Duration::from_millis(1)).await;
    }
}
