//! The five stories, and how one is told: every policy at the same time, each with a server, a thread and a runtime
//! of its own.

mod burst;
mod crawler;
mod keep_alive;
mod race;
mod slow_acceptor;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use pool_core::Pool;
use serde_json::Value;
use tokio::runtime;
use tokio::sync::watch;

use crate::client::{Client, Peer};
use crate::clock::{millis, now, thread_cpu};
use crate::foreign::{Certainty, Foreign, Patience};
use crate::manager::LabManager;
use crate::policy::Policy;
use crate::progress::Progress;
use crate::report::{PolicyReport, Remote, StoryReport, Summary, or_unknown};
use crate::sampler::{Sampler, Selector, Track};
use crate::server::{Habits, Server};

/// How much of the truth there is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    Quick,
}

impl Scale {
    /// The first number for a full run, the second for a quick one.
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }

    fn millis(self, full: u64, quick: u64) -> Duration {
        Duration::from_millis(self.pick(full, quick))
    }

    pub(crate) fn name(self) -> &'static str {
        self.pick("full", "quick")
    }
}

/// What the machine allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) scale: Scale,
    /// How many files may be open at once.
    pub(crate) open_files: u64,
    /// How many addresses of the loopback network can be listened on.
    pub(crate) loopback_addresses: usize,
    /// When a server that is not the lab's own closes idle connections.
    pub(crate) foreign: Option<Patience>,
    /// How many connections all policies of a story may have to that server.
    pub(crate) clients: usize,
}

impl Means {
    /// Finds out how many addresses the loopback network has: all of 127.0.0.0/8 on Linux, one elsewhere.
    pub(crate) fn new(scale: Scale, open_files: u64, foreign: Option<&Foreign>) -> Self {
        let second = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0));
        Self {
            scale,
            open_files,
            loopback_addresses: if second.is_ok() { 254 } else { 1 },
            foreign: foreign.map(|foreign| foreign.patience),
            clients: foreign.map_or(usize::MAX, |foreign| foreign.clients),
        }
    }

    /// What had to be scaled down, and why.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // What the crawler takes, who takes most.
        if !self.affords(self.scale.pick(6000, 3500)) {
            notes.push(format!(
                "Only {} files may be open at once, so the stories have fewer connections; `ulimit -n` raises it.",
                self.open_files
            ));
        }
        if self.loopback_addresses == 1 {
            notes.push(
                "127.0.0.2 cannot be listened on here, so the crawler has one server.".into(),
            );
        }
        notes
    }

    /// When the server closes what is idle: after `own`, unless it is not the lab's own.
    fn patience(&self, own: Duration) -> Patience {
        self.foreign.unwrap_or(Patience::exactly(own))
    }

    /// `wanted`, or as many as each of so many policies may have.
    fn connections(&self, wanted: usize, policies: usize) -> usize {
        self.afford(wanted.min(self.clients / policies), 2 * policies)
    }

    /// `wanted`, or as many as leave room when each takes `descriptors`.
    fn afford(&self, wanted: usize, descriptors: usize) -> usize {
        wanted.min(self.spare() / descriptors).max(2)
    }

    /// Whether so many can be open beside everything else.
    fn affords(&self, descriptors: usize) -> bool {
        descriptors <= self.spare()
    }

    /// The runtimes, the table and the standard streams take some, too.
    fn spare(&self) -> usize {
        let open_files = usize::try_from(self.open_files).unwrap_or(usize::MAX);
        open_files.saturating_sub(150)
    }
}

/// A story, ready to be told.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    title: &'static str,
    setup: String,
    close_wait_at_server: bool,
    takes: Duration,
    parameters: BTreeMap<&'static str, Value>,
    cases: Vec<Case>,
    /// What was seen, in plain words.
    seen: fn(&[PolicyReport]) -> String,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A story under one policy.
struct Case {
    policy: Policy,
    habits: Habits,
    live: Live,
}

/// What a client does; it ends with the pools that the client still keeps.
type Live = Box<dyn FnOnce(Arc<Client>) -> Pin<Box<dyn Future<Output = Kept>>> + Send>;
type Kept = Vec<Pool<LabManager>>;

impl Case {
    fn new<F, L>(policy: Policy, habits: Habits, live: L) -> Self
    where
        F: Future<Output = Kept> + 'static,
        L: FnOnce(Arc<Client>) -> F + Send + 'static,
    {
        Self {
            policy,
            habits,
            live: Box::new(|client| Box::pin(live(client))),
        }
    }
}

/// The names of all stories, in the order in which they are told.
pub(crate) const NAMES: [&str; 5] = [
    "keep-alive",
    "crawler",
    "burst-on-a-stack",
    "slow-acceptor",
    "race",
];

/// Plans the story called `name`.
pub(crate) fn plan(name: &str, means: &Means) -> Option<Plan> {
    Some(match name {
        "keep-alive" => keep_alive::plan(means),
        "crawler" => crawler::plan(means),
        "burst-on-a-stack" => burst::plan(means),
        "slow-acceptor" => slow_acceptor::plan(means),
        "race" => race::plan(means),
        _ => return None,
    })
}

/// What all stories share.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) foreign: Option<Foreign>,
    /// Becomes true when the user wants no more.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Teller {
    /// Tells one story under all of its policies and reports what was seen; `None` if the user cut it short, for what
    /// had happened until then is no result.
    ///
    /// # Errors
    ///
    /// When a server cannot listen or a runtime cannot start.
    pub(crate) fn tell(
        &self,
        plan: Plan,
        progress: &mut Progress,
    ) -> io::Result<Option<StoryReport>> {
        progress.begin(plan.name, plan.cases.len(), plan.takes);
        let start = now();
        // One worker for all servers: they are the scenery, and the clients have the rest of the machine.
        let servers = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab-servers")
            .enable_all()
            .build()?;
        let mut runs = Vec::new();
        for (place, case) in plan.cases.into_iter().enumerate() {
            let (order, name) = (case.policy.order_name(), case.policy.name);
            let run = self.start(place, case, servers.handle(), plan.close_wait_at_server)?;
            runs.push((order, name, run));
        }
        let mut policies = Vec::new();
        while !runs.is_empty() {
            let Some(ended) = runs.iter().position(|(_, _, run)| run.is_finished()) else {
                progress.tick();
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let (order, name, run) = runs.remove(ended);
            let report = run.join().map_err(|_| {
                io::Error::other(format!("the client of {order} {name} panicked"))
            })??;
            policies.push(report);
        }
        servers.shutdown_background();
        if *self.stop.borrow() {
            return Ok(None);
        }
        policies.sort_by_key(|policy| policy.place);
        // Not one by one as they end: the story may still be cut short then.
        for policy in &policies {
            progress.policy(policy);
        }
        Ok(Some(StoryReport {
            name: plan.name,
            title: plan.title,
            setup: plan.setup,
            close_wait_side: if plan.close_wait_at_server {
                "server"
            } else {
                "client"
            },
            seen: match &self.foreign {
                Some(foreign) if foreign.patience.certainty != Certainty::Known => {
                    seen_of_foreign(&policies, foreign.patience)
                }
                _ => (plan.seen)(&policies),
            },
            took_ms: millis(start.elapsed()) as u64,
            parameters: plan.parameters,
            policies,
        }))
    }

    fn start(
        &self,
        place: usize,
        case: Case,
        servers: &runtime::Handle,
        close_wait_at_server: bool,
    ) -> io::Result<thread::JoinHandle<io::Result<PolicyReport>>> {
        let ports = Arc::default();
        let (addresses, peer, selector) = match &self.foreign {
            None => {
                let server = Server::start(servers, &case.habits)?;
                let port = server.port;
                let selector = Selector::ServerPort {
                    port,
                    close_wait_at_server,
                };
                let addresses = case.habits.addresses.iter();
                let addresses = addresses
                    .map(|address| format!("{address}:{port}"))
                    .collect();
                (addresses, Peer::Own(server.ledger), selector)
            }
            Some(foreign) => {
                let selector = Selector::Registered {
                    server: foreign.address.resolved.clone(),
                    ports: Arc::clone(&ports),
                };
                let peer = Peer::Foreign {
                    send: foreign.send.clone(),
                    answer_ends: foreign.answer_ends,
                };
                (vec![foreign.address.name.clone()], peer, selector)
            }
        };
        let run = Run {
            place,
            accepts_late: case.habits.accept_pause.is_some(),
            track: self.sampler.track(selector),
            sampler: Arc::clone(&self.sampler),
            stop: self.stop.clone(),
            client: Client {
                policy: case.policy,
                servers: addresses,
                peer,
                tally: Arc::default(),
                ports,
            },
        };
        let name = format!("lab-{}", run.client.policy.name);
        thread::Builder::new()
            .name(name)
            .spawn(move || run.live(case.live))
    }
}

/// What a server did of which it was not known what it would do.
fn seen_of_foreign(policies: &[PolicyReport], patience: Patience) -> String {
    if policies
        .iter()
        .all(|policy| policy.close_wait_max.is_none())
    {
        return "The socket table could not be read, and only it knows what this server closed."
            .into();
    }
    let in_words = |policy: &PolicyReport| {
        format!(
            "{} {} {} at most, {} at the end, {} dead handed out",
            policy.order,
            policy.policy,
            or_unknown(policy.close_wait_max),
            or_unknown(policy.close_wait_at_end),
            policy.dead_handed_out,
        )
    };
    let shown = ["nothing", "probe", "watch+reap"];
    let shown = shown.map(|name| PolicyReport::find(policies, "lifo", name).map(in_words));
    let shown: Vec<_> = shown.into_iter().flatten().collect();
    let mut seen = format!("In CLOSE_WAIT: {}.", shown.join("; "));
    let closed_none = policies
        .iter()
        .all(|policy| policy.close_wait_max == Some(0));
    if closed_none && patience.certainty == Certainty::Believed {
        seen.push_str(&format!(
            " It seems this server closes nothing that has been idle for {} s; --idle waits longer.",
            patience.most.as_secs()
        ));
    }
    seen
}

/// One policy being lived through, on a thread of its own.
struct Run {
    place: usize,
    accepts_late: bool,
    client: Client,
    track: Arc<Track>,
    sampler: Arc<Sampler>,
    stop: watch::Receiver<bool>,
}

impl Run {
    fn live(mut self, live: Live) -> io::Result<PolicyReport> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = Arc::new(self.client.clone());
        let report = runtime.block_on(async {
            let mut life = std::pin::pin!(live(client));
            let kept = tokio::select! {
                kept = &mut life => Some(kept),
                _ = self.stop.wait_for(|stopped| *stopped) => None,
            };
            // The last reading is taken with every pool still alive and able to act.
            let sampler = Arc::clone(&self.sampler);
            let _ = tokio::task::spawn_blocking(move || sampler.sample_now()).await;
            // Before the pools go, or their last sockets would count as closed.
            let report = self.report(now(), thread_cpu());
            drop(kept);
            report
        });
        Ok(report)
    }

    fn report(&self, end: Instant, cpu: Option<Duration>) -> PolicyReport {
        let seen = self.track.seen();
        let Client {
            policy,
            peer,
            tally,
            ..
        } = &self.client;
        let balance = match peer {
            Peer::Own(ledger) => Some(ledger.balance(end)),
            Peer::Foreign { .. } => None,
        };
        let last = seen.as_ref().and_then(|seen| seen.end());
        let idle = tally.idle();
        let count = |count: &std::sync::atomic::AtomicUsize| count.load(Relaxed);
        let remotes = seen.as_ref().map(|seen| Remote::busiest(&seen.remotes));
        PolicyReport {
            place: self.place,
            order: policy.order_name(),
            policy: policy.name,
            title: policy.title,
            close_wait_max: seen.as_ref().map(|seen| seen.close_wait_max),
            close_wait_at_end: last.map(|point| point.close_wait),
            close_wait_socket_seconds: seen
                .as_ref()
                .map(|seen| (seen.close_wait_socket_seconds * 1e3).round() / 1e3),
            close_wait_longest_ms: seen.as_ref().map(|seen| millis(seen.close_wait_longest)),
            open_at_end: last.map(|point| point.open),
            dialled: match &balance {
                // A slow acceptor has not seen all of those that the kernel has taken for it.
                Some(balance) if !self.accepts_late => balance.accepted,
                _ => count(&tally.dials),
            },
            dead_handed_out: count(&tally.dead_handed_out),
            fin_to_close_ms: balance
                .as_ref()
                .and_then(|balance| Summary::of(&balance.fin_to_close)),
            idle_cpu_ms: idle.map(|idle| millis(idle.used)),
            idle_window_ms: idle.map(|idle| millis(idle.window)),
            cpu_ms: cpu.map(millis),
            never_closed: balance.as_ref().map(|balance| balance.never_closed),
            fins: balance.as_ref().map(|balance| balance.fin_to_close.len()),
            requests: count(&tally.requests),
            requests_lost: count(&tally.requests_lost),
            requests_after_fin: balance.as_ref().map(|balance| balance.requests_after_fin),
            checkouts_failed: count(&tally.checkouts_failed),
            accepted: balance.as_ref().map(|balance| balance.accepted),
            accepted_too_late: balance.as_ref().map(|balance| balance.wasted),
            syn_retries: seen.as_ref().map(|seen| seen.syn_retries),
            check_ins: count(&tally.check_ins),
            probes: count(&tally.probes),
            watch_polls: count(&tally.watch_polls),
            told: tally.heard.told(),
            remotes: remotes.unwrap_or_default(),
            series: seen.map(|seen| seen.series).unwrap_or_default(),
        }
    }
}
