//! What a GET costs from a hyper server in the same process: through this client, reqwest and hyper-util's, and on bare
//! connections of hyper. One user, and 32 at once; 13 bytes, and 1 MiB.
//!
//! All are at their defaults; ours may have as many connections as there are users, which the others have without being
//! asked. The server has a thread of its own, the users are tasks of tokio's usual runtime with two workers. First come
//! interleaved rounds, whose ratios survive a machine whose speed drifts; then criterion's own figures.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::disallowed_methods, reason = "benchmarks measure real time")]

#[path = "../src/http_clients.rs"]
mod http_clients;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use http_clients::{Bare, HttpClient, HyperUtil, Ours, Reqwest};

const ROUNDS: usize = 101;
const SMALL: &[u8] = b"Hello, world!";
const LARGE: usize = 1024 * 1024;

/// How many ask for what.
#[derive(Clone, Copy)]
struct Crowd {
    name: &'static str,
    users: usize,
    path: &'static str,
    length: usize,
    /// Requests of all users together in a round.
    requests: u64,
}

const CROWDS: [Crowd; 4] = [
    Crowd {
        name: "one user, 13 bytes",
        users: 1,
        path: "/small",
        length: SMALL.len(),
        requests: 100,
    },
    Crowd {
        name: "32 users, 13 bytes",
        users: 32,
        path: "/small",
        length: SMALL.len(),
        requests: 640,
    },
    Crowd {
        name: "one user, 1 MiB",
        users: 1,
        path: "/large",
        length: LARGE,
        requests: 8,
    },
    Crowd {
        name: "32 users, 1 MiB",
        users: 32,
        path: "/large",
        length: LARGE,
        requests: 64,
    },
];

/// One of those that are compared.
struct Contender {
    name: &'static str,
    /// Makes so many requests.
    run: Box<dyn Fn(u64) -> Run>,
}

/// Ends with how long it took.
type Run = Pin<Box<dyn Future<Output = Duration> + Send>>;

impl Contender {
    fn new(name: &'static str, crowd: Crowd, address: SocketAddr, client: impl HttpClient) -> Self {
        let url: &'static str = Box::leak(format!("http://{address}{}", crowd.path).into());
        let run =
            move |requests| -> Run { Box::pin(measure(client.clone(), crowd, url, requests)) };
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// In this order: without a client, ours, the others.
    async fn all(address: SocketAddr, crowd: Crowd) -> Vec<Self> {
        let bare = Bare::dial(address, crowd.users).await;
        let contenders = vec![
            Self::new("hyper, bare", crowd, address, bare),
            Self::new("pool-http", crowd, address, Ours::new(crowd.users)),
            Self::new("reqwest", crowd, address, Reqwest::new()),
            Self::new("hyper-util legacy", crowd, address, HyperUtil::new()),
        ];
        for contender in &contenders {
            (contender.run)(crowd.requests).await;
        }
        contenders
    }
}

/// How long it takes the users to make so many requests in all.
async fn measure(
    client: impl HttpClient,
    crowd: Crowd,
    url: &'static str,
    requests: u64,
) -> Duration {
    let each = requests.div_ceil(crowd.users as u64);
    let start = Instant::now();
    let mut users = JoinSet::new();
    for _ in 0..crowd.users {
        let client = client.clone();
        users.spawn(async move {
            for _ in 0..each {
                let length = client.send(Method::GET, url).await;
                assert_eq!(length.expect("the server runs"), crowd.length);
            }
        });
    }
    users.join_all().await;
    start.elapsed()
}

/// Answers for as long as the process runs.
fn serve() -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        runtime.block_on(async {
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

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// What is measured, and on what.
fn print_versions() {
    let crates = ["hyper", "hyper-util", "reqwest", "tokio"];
    let crates = crates.map(|name| format!("{name} {}", locked_version(name)));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{}; {cores} cores, {}\n",
        crates.join(", "),
        std::env::consts::OS
    );
}

/// The version of a crate in this workspace.
fn locked_version(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let heading = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&heading).expect("it is used here");
    rest.split('"').next().expect("a quoted version")
}

fn print_ratios(address: SocketAddr) {
    let runtime = runtime();
    for crowd in CROWDS {
        let contenders = runtime.block_on(Contender::all(address, crowd));
        // Microseconds a request, by round.
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        for round in 0..ROUNDS {
            let mut micros = vec![0.0; contenders.len()];
            // Nobody always comes after the same one.
            for place in 0..contenders.len() {
                let turn = (place + round) % contenders.len();
                let took = runtime.block_on((contenders[turn].run)(crowd.requests));
                micros[turn] = took.as_secs_f64() * 1e6 / crowd.requests as f64;
            }
            rounds.push(micros);
        }
        print_crowd(crowd, &contenders, &rounds);
    }
}

fn print_crowd(crowd: Crowd, contenders: &[Contender], rounds: &[Vec<f64>]) {
    let median = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "GET; {}; medians of {ROUNDS} interleaved rounds of {} requests, and of the ratios in each",
        crowd.name, crowd.requests
    );
    for (place, contender) in contenders.iter().enumerate() {
        println!(
            "  {:<18} {:8.2} \u{b5}s a request {:7.0} a second  {:5.2} of bare hyper's time  {:5.2} of ours",
            contender.name,
            median(&|round| round[place]),
            1e6 / median(&|round| round[place]),
            median(&|round| round[place] / round[0]),
            median(&|round| round[place] / round[1]),
        );
    }
    let verdict = |holds| if holds { "holds" } else { "MISSED" };
    if crowd.users == 1 {
        let ratio = median(&|round| round[1] / round[0]);
        println!(
            "  target: ours within 1.05 of bare hyper: {ratio:.3}, {}",
            verdict(ratio <= 1.05)
        );
    }
    let ratio = median(&|round| round[1] / round[2].min(round[3]));
    println!(
        "  target: ours not slower than the faster rival: {ratio:.3} of its time, {}\n",
        verdict(ratio <= 1.0)
    );
}

fn http(criterion: &mut Criterion) {
    let address = serve();
    let runtime = runtime();
    for crowd in CROWDS {
        let mut group = criterion.benchmark_group(format!("http, {}", crowd.name));
        group.warm_up_time(Duration::from_secs(1));
        group.measurement_time(Duration::from_secs(3));
        for contender in runtime.block_on(Contender::all(address, crowd)) {
            group.bench_function(contender.name, |bencher| {
                // A crowd makes a whole number of requests each; what they make more is not theirs to count.
                bencher.iter_custom(|requests| {
                    let whole = requests.div_ceil(crowd.users as u64) * crowd.users as u64;
                    let took = runtime.block_on((contender.run)(whole));
                    took.mul_f64(requests as f64 / whole as f64)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, http);

fn main() {
    // `cargo test --benches` only wants to know that they run, and a profiler wants one of them alone.
    let silent = ["--test", "--list", "--profile-time"];
    if !std::env::args().any(|argument| silent.contains(&argument.as_str())) {
        print_versions();
        print_ratios(serve());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
