//! One run of the lab, from the limits of the machine to the reports.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::sync::watch;
use yardstick::limits::raise_open_files;

use crate::clock::{millis, now, timestamp};
use crate::foreign::{Certainty, Foreign};
use crate::progress::Progress;
use crate::report::{self, Folder, IMITATED, Machine, Report, claims, json::SCHEMA};
use crate::sampler::{INTERVAL, Sampler};
use crate::sockets::SocketTable;
use crate::stories::{self, Means, NAMES, Scale, Teller};

/// The stories that can be told against a server that does not know it is in one.
pub(crate) const SUITS_ANY_SERVER: [&str; 2] = ["keep-alive", "burst-on-a-stack"];

/// What the user wants to see.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) scale: Scale,
    /// Empty: all of them.
    pub(crate) stories: Vec<String>,
    pub(crate) out: Folder,
    /// Whether to list what was expected even if it held.
    pub(crate) verbose: bool,
    /// The server to tell them against, if not the lab's own.
    pub(crate) foreign: Option<Foreign>,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Both reports are written.
    Complete { claims_hold: bool },
    /// The user has interrupted it; nothing is written.
    Interrupted,
}

/// Tells the stories, prints the table, and writes the reports.
///
/// # Errors
///
/// When the lab itself fails: no server can listen, or no report be written.
pub(crate) fn run(request: &Request) -> io::Result<Outcome> {
    let start = now();
    let when = timestamp();
    let mut progress = Progress::new();
    let mut notes = Vec::new();
    let open_files = raise_open_files();
    let table = open_table(request, &mut notes);
    let means = Means::new(
        request.scale,
        open_files.unwrap_or(u64::MAX),
        request.foreign.as_ref(),
    );
    let foreign = request.foreign.as_ref();
    notes.extend(foreign.and_then(|foreign| foreign.note.clone()));
    notes.extend(means.notes());
    for note in &notes {
        progress.line(&format!("note: {note}"));
    }
    let teller = Teller {
        sampler: Arc::new(Sampler::start(table)),
        foreign: request.foreign.clone(),
        stop: listen_for_interrupt()?,
    };
    let mut told = Vec::new();
    for name in names(request) {
        let plan = stories::plan(name, &means).expect("only known names pass the command line");
        let Some(story) = teller.tell(plan, &mut progress)? else {
            let text = report::table::render_stories(&told, foreign.is_some());
            if !text.is_empty() {
                print(&format!("\n{text}"));
            }
            progress.line(&format!("interrupted during {name}; no report was written"));
            return Ok(Outcome::Interrupted);
        };
        told.push(story);
    }
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        when,
        took_ms: millis(start.elapsed()) as u64,
        scale: request.scale.name(),
        server: foreign.map(|foreign| foreign.address.url.clone()),
        machine: Machine::this(open_files),
        method: method(request),
        notes,
        // Of a server that may close nothing, nothing can be expected.
        claims: match foreign {
            Some(foreign) if foreign.patience.certainty != Certainty::Known => Vec::new(),
            _ => claims::judge(&told),
        },
        stories: told,
    };
    let paths = report::write(&report, &request.out).map_err(|error| {
        let folder = request.out.path().display();
        io::Error::new(
            error.kind(),
            format!(
                "cannot write the reports to {folder}: {error}; choose another folder with --out"
            ),
        )
    })?;
    let mut text = format!("\n{}\n", report::table::render(&report, request.verbose));
    for path in paths {
        let path = path.canonicalize().unwrap_or(path);
        text.push_str(&format!("{}\n", path.display()));
    }
    print(&text);
    let claims_hold = report.claims.iter().all(|claim| claim.holds);
    Ok(Outcome::Complete { claims_hold })
}

fn names(request: &Request) -> Vec<&str> {
    let is_wanted = |name: &&str| match &request.stories[..] {
        [] => request.foreign.is_none() || SUITS_ANY_SERVER.contains(name),
        wanted => wanted.iter().any(|wanted| wanted == name),
    };
    NAMES.into_iter().filter(is_wanted).collect()
}

fn open_table(request: &Request, notes: &mut Vec<String>) -> Option<SocketTable> {
    match SocketTable::open() {
        // Only a foreign server may have an address of the newer kind.
        Ok(table) if request.foreign.is_none() => Some(table.ipv4_only()),
        Ok(table) => Some(table),
        Err(error) => {
            notes.push(format!(
                "This platform shows no socket table ({error}): CLOSE_WAIT and open connections are not known; \
                 what the servers and clients note themselves is."
            ));
            None
        }
    }
}

fn method(request: &Request) -> Vec<String> {
    let (filed_by, servers) = match request.foreign {
        None => ("server's", "each with a server of its own"),
        Some(_) => (
            "client's own",
            "each with some connections to the one server",
        ),
    };
    let mut method = vec![
        format!(
            "Socket states are read from the kernel's table (/proc/net/tcp) every {} ms, less often where that takes long, for all policies at once and \
             filed by the {filed_by} port; no pool is asked. When a new socket has come, the table is read twice, and \
             only what both readings show counts. Socket-seconds take each reading to have lasted until the \
             next.",
            INTERVAL.as_millis()
        ),
        format!(
            "All policies of a story run at the same time, {servers} and its client on a thread of its own. All are the \
             same pool with parts switched off."
        ),
        IMITATED.to_string(),
        "A dead connection handed out is a request that failed on a connection which the server had closed before the \
         checkout began. A lost request is any that failed; nothing is sent again."
            .to_string(),
        "Idle CPU is the CPU time of the client's thread in a window in which nobody asks for anything \
         (idle_window_ms)."
            .to_string(),
    ];
    if request.foreign.is_none() {
        method.push(
            "FIN to close: the server shuts its side down, notes the time, and reads until our FIN arrives. A \
             connection never closed counts with its age at the end, a lower bound."
                .to_string(),
        );
    } else {
        method.push(
            "The server is not the lab's own: what only a server can note (FIN to close, never closed) is null, and \
             a dead connection is one at whose end the client finds itself right after checkout."
                .to_string(),
        );
    }
    method
}

/// Nobody may be reading any more; that is no failure of the lab's.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Becomes true at the first Ctrl-C; the second ends the process on the spot.
fn listen_for_interrupt() -> io::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.send_replace(true);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(130);
                }
            }
            // Without signals there is nothing to send, but a closed channel would look like one.
            std::future::pending::<()>().await;
        });
    });
    Ok(stopped)
}
