//! What a GET costs from a hyper server in the same process: through this client, reqwest and hyper-util's, and on bare
//! connections of hyper.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::users::{self, Ask};
use super::{Effort, Suite};
use crate::crowd::Threads;
use crate::findings::{Finding, Target, digits};
use crate::http_clients::{Bare, HttpClient, HyperUtil, Ours, Reqwest};
use crate::one_core::on_one_core;
use crate::rounds::{Entrant, Record, of, play};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "http",
    question: "What does a GET cost through each client for HTTP?",
    measure,
};

const SMALL: &[u8] = b"Hello, world!";
const LARGE: usize = 1024 * 1024;

const BARE: &str = "hyper, no pool";
const OURS: &str = "ours: pool-http";
/// By how much the ratios of two runs differ.
const SPREAD: f64 = 0.02;
const RIVALS: [&str; 2] = ["reqwest", "hyper-util legacy"];

/// How many ask for what.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// As a heading has it.
    pub name: &'static str,
    users: usize,
    path: &'static str,
    length: usize,
}

/// The crowds that are measured.
pub const CROWDS: [Crowd; 4] = [
    Crowd {
        name: "one user, 13 bytes",
        users: 1,
        path: "/small",
        length: SMALL.len(),
    },
    Crowd {
        name: "32 users, 13 bytes",
        users: 32,
        path: "/small",
        length: SMALL.len(),
    },
    Crowd {
        name: "one user, 1 MiB",
        users: 1,
        path: "/large",
        length: LARGE,
    },
    Crowd {
        name: "32 users, 1 MiB",
        users: 32,
        path: "/large",
        length: LARGE,
    },
];

impl Crowd {
    /// Hardly more is done than to wake each other in turn.
    fn is_about_waking(&self) -> bool {
        self.users == 1 && self.length < LARGE
    }
}

#[derive(Clone)]
struct Get<C> {
    client: C,
    url: String,
    length: usize,
}

impl<C: HttpClient> Ask for Get<C> {
    async fn ask(&self) {
        let length = self.client.send(Method::GET, &self.url).await;
        assert_eq!(length.expect("the server runs"), self.length);
    }
}

/// Without a pool, ours, and the others.
pub fn entrants(address: SocketAddr, crowd: Crowd) -> Vec<Entrant> {
    let runtime = Threads::Two.runtime();
    let ready = Rc::clone(&runtime);
    ready.block_on(async {
        let bare = Bare::dial(address, crowd.users).await;
        vec![
            entrant(BARE, address, crowd, &runtime, bare),
            entrant(OURS, address, crowd, &runtime, Ours::new(crowd.users)),
            entrant(RIVALS[0], address, crowd, &runtime, Reqwest::default()),
            entrant(RIVALS[1], address, crowd, &runtime, HyperUtil::default()),
        ]
    })
}

fn entrant(
    name: &'static str,
    address: SocketAddr,
    crowd: Crowd,
    runtime: &Rc<Runtime>,
    client: impl HttpClient,
) -> Entrant {
    let get = Get {
        client,
        url: format!("http://{address}{}", crowd.path),
        length: crowd.length,
    };
    users::entrant(name, crowd.users, runtime, get)
}

/// A server that answers for as long as the process runs.
pub fn serve() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        Threads::One.runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            sender.send(address).expect("it is waited for");
            let large = Bytes::from(vec![b'x'; LARGE]);
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("it is open");
                let large = large.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let body = match request.uri().path() {
                        "/small" => Bytes::from_static(SMALL),
                        _ => large.clone(),
                    };
                    async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    });
    receiver.recv().expect("the server starts")
}

fn measure(effort: &Effort) -> Finding {
    let mut finding = Finding {
        method: vec![
            "A GET, read to its end, from a hyper server on a thread of its own in the same process, from tasks on two workers; \
             for one user and 13 bytes all threads share one core, as otherwise it matters more than the client on which core \
             the kernel wakes whom. All are at their defaults; ours may have as many connections as there are users, which the others \
             have without being asked. \"no pool\" is a connection for each user that nobody looks after. Two runs differ by \
             up to two hundredths."
                .into(),
        ],
        ..Finding::default()
    };
    for crowd in CROWDS {
        effort.say(crowd.name);
        let plan = users::plan(effort);
        let measured = || play(&mut entrants(serve(), crowd), plan);
        let records = match crowd.is_about_waking() {
            true => on_one_core(measured),
            false => measured(),
        };
        let table = users::table(crowd.name, plan, &records, BARE, OURS);
        finding.tables.push(table);
        finding.plots.push(users::plot(crowd.name, &records, BARE));
        finding.targets.extend(targets(crowd, &records));
        finding.seen.push_str(&format!(
            "HTTP, {}: ours takes {} of bare hyper's time. ",
            crowd.name,
            digits(of(&records, OURS).ratio(of(&records, BARE), |round| round.nanos)),
        ));
    }
    finding
}

fn targets(crowd: Crowd, records: &[Record]) -> Vec<Target> {
    let ours = of(records, OURS);
    let mut targets = Vec::new();
    if crowd.users == 1 {
        let ratio = ours.ratio(of(records, BARE), |round| round.nanos);
        targets.push(Target::new(
            format!("HTTP, {}: at most 1.05 of bare hyper's time", crowd.name),
            digits(ratio),
            ratio <= 1.05,
        ));
    }
    let times = RIVALS.map(|rival| ours.ratio(of(records, rival), |round| round.nanos));
    let most = times.into_iter().fold(0.0, f64::max);
    targets.push(Target::new(
        format!(
            "HTTP, {}: not slower than the faster rival, by more than two runs differ",
            crowd.name
        ),
        format!("{} of its time", digits(most)),
        most <= 1.0 + SPREAD,
    ));
    targets
}
