//! What `TracingObserver` writes.

#![cfg(feature = "tracing")]

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::observers::TracingObserver;
use pool_core::{CloseReason, Event, Observer, Outcome, Status};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Keeps everything it is told.
#[derive(Default)]
struct Log(Mutex<Vec<Line>>);

#[derive(Debug)]
struct Line {
    level: Level,
    target: &'static str,
    fields: Fields,
}

#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), format!("{value} s"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let value = format!(
            "{value}, because of {}",
            value.source().expect("it has one")
        );
        self.0.insert(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

struct Shared(Arc<Log>);

impl Subscriber for Shared {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.0.0.lock().unwrap().push(Line {
            level: *metadata.level(),
            target: metadata.target(),
            fields,
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Debug)]
struct Refused(io::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not connect")
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn refused() -> Arc<Refused> {
    Arc::new(Refused(io::ErrorKind::ConnectionRefused.into()))
}

/// The level, the fields in the order of the alphabet and the message, as one line.
fn written(event: &Event) -> String {
    let log = Arc::new(Log::default());
    tracing::subscriber::with_default(Shared(Arc::clone(&log)), || {
        TracingObserver::new().observe("users", event);
    });
    let mut lines = std::mem::take(&mut *log.0.lock().unwrap());
    assert_eq!(lines.len(), 1, "one event, one line");
    let Line {
        level,
        target,
        mut fields,
    } = lines.remove(0);
    assert_eq!(target, "pool_core");
    assert_eq!(
        fields.0.remove("db.client.connection.pool.name").as_deref(),
        Some("users")
    );
    let mut text = format!(
        "{level} {}",
        fields.0.remove("message").expect("it says what happened")
    );
    for (name, value) in fields.0 {
        text += &format!(", {name}: {value}");
    }
    text
}

#[test]
fn every_event_is_one_line_at_its_level_with_its_numbers_as_fields() {
    let (short, long) = (Duration::from_millis(1_500), Duration::from_secs(60));
    let status = Status::default();
    let place = Location::caller();
    for (event, expected) in [
        (Event::Connecting { id: 7 }, "DEBUG connecting, id: 7"),
        (
            Event::Connected { id: 7, took: short },
            "DEBUG connected, db.client.connection.create_time: 1.5 s, id: 7",
        ),
        (
            Event::ConnectFailed {
                id: 7,
                took: short,
                error: refused(),
                permanent: false,
            },
            "WARN connecting failed, error: could not connect, because of connection refused, id: 7, \
             permanent: false, took: 1.5 s",
        ),
        (
            Event::ConnectAbandoned { id: 7 },
            "DEBUG connecting abandoned, id: 7",
        ),
        (
            Event::Waiting { waiting: 3 },
            "TRACE waiting, db.client.connection.pending_requests: 3",
        ),
        (
            Event::Waited {
                wait: short,
                outcome: Outcome::TimedOut,
            },
            "TRACE waited, outcome: timed_out, wait: 1.5 s",
        ),
        (
            Event::CheckedOut {
                id: 7,
                wait: short,
                uses: 2,
                idle_for: long,
            },
            "TRACE checked out, db.client.connection.wait_time: 1.5 s, id: 7, idle_for: 60 s, uses: 2",
        ),
        (
            Event::CheckedIn { id: 7, hold: short },
            "TRACE checked in, db.client.connection.use_time: 1.5 s, id: 7",
        ),
        (
            Event::Detached { id: 7, hold: short },
            "DEBUG detached, db.client.connection.use_time: 1.5 s, id: 7",
        ),
        (
            Event::TimedOut {
                limit: short,
                status,
            },
            "WARN checkout timed out, limit: 1.5 s, status: 0 of 0 in use, 0 idle, 0 connecting, 0 waiting",
        ),
        (
            Event::Refused { status },
            "WARN checkout refused, status: 0 of 0 in use, 0 idle, 0 connecting, 0 waiting",
        ),
        (
            Event::Evicted { id: 7, lag: short },
            "DEBUG evicted, id: 7, lag: 1.5 s",
        ),
        (
            Event::CheckFailed {
                id: 7,
                error: refused(),
            },
            "WARN check failed, error: could not connect, because of connection refused, id: 7",
        ),
        (
            Event::Closed {
                id: 7,
                reason: CloseReason::IdleTimeout,
                age: long,
                uses: 2,
            },
            "DEBUG closed, age: 60 s, id: 7, reason: idle_timeout, uses: 2",
        ),
        (
            Event::HeldTooLong {
                id: 7,
                held: long,
                place,
                backtrace: None,
            },
            &format!("WARN held too long, held: 60 s, id: 7, place: {place}"),
        ),
        (
            Event::HeldTooLong {
                id: 7,
                held: long,
                place,
                backtrace: Some(Arc::new(Backtrace::disabled())),
            },
            &format!(
                "WARN held too long, backtrace: disabled backtrace, held: 60 s, id: 7, place: {place}"
            ),
        ),
        (
            Event::ReturnedAfterAll {
                id: 7,
                held: long,
                place,
            },
            &format!("INFO returned after all, held: 60 s, id: 7, place: {place}"),
        ),
        (
            Event::Retired { older_than: 7 },
            "INFO retired, older_than: 7",
        ),
        (
            Event::Resized { max_size: 9 },
            "INFO resized, db.client.connection.max: 9",
        ),
        (Event::Paused, "INFO paused"),
        (Event::Resumed, "INFO resumed"),
        (Event::PoolClosed, "INFO pool closed"),
    ] {
        assert_eq!(written(&event), expected);
    }
}
