//! HTTP/2 with a hyper server: connections are shared, and as few as may be.

mod support_h2;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use http::Version;
use pool_core::{Leased, OnConnectError};
use pool_http::{Client, Fate, Http2, Origin, RequestError};
use support_h2::certificate::Certificate;
use support_h2::server::{Recipe, Server, answer};
use support_h2::{Answer, becomes, client, fetch, get, in_time};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

fn knowing() -> pool_http::ClientBuilder {
    client().http2(Http2::Always)
}

fn trusting(certificate: &Certificate) -> pool_http::ClientBuilder {
    client().tls(certificate.client())
}

/// A server that answers nobody before it is told to, and knows how many wait.
struct Held {
    server: Server,
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    most_waiting: Arc<AtomicUsize>,
}

impl Held {
    async fn new(change: impl FnOnce(Recipe) -> Recipe) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (waiting, most_waiting) = (Arc::default(), Arc::default());
        let (opens, counts): (_, Arc<AtomicUsize>) = (Arc::clone(&gate), Arc::clone(&waiting));
        let most: Arc<AtomicUsize> = Arc::clone(&most_waiting);
        let recipe = Recipe::new(move |request| {
            let (opens, counts, most) = (opens.clone(), counts.clone(), most.clone());
            async move {
                let here = Here::new(counts, &most);
                opens.acquire().await.unwrap().forget();
                drop(here);
                answer(request.uri().path().to_owned())
            }
        });
        Self {
            server: change(recipe).start().await,
            gate,
            waiting,
            most_waiting,
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn most_waiting(&self) -> usize {
        self.most_waiting.load(Ordering::SeqCst)
    }
}

/// A request that the server has, until it is answered or cancelled.
struct Here(Arc<AtomicUsize>);

impl Here {
    fn new(counts: Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
        let waiting = counts.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(waiting, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn spawn(client: &Client, url: &str) -> JoinHandle<Result<Answer, RequestError>> {
    let (client, url) = (client.clone(), url.to_owned());
    tokio::spawn(async move { fetch(&client, get(&url)).await })
}

async fn a_hundred_at_once(client: &Client, server: &Server) {
    let url = server.at("/");
    let answers = (0..100).map(|_| fetch(client, get(&url)));
    for answer in in_time(try_join_all(answers)).await.unwrap() {
        assert_eq!(answer.served.version, Version::HTTP_2);
        assert_eq!(answer.body, "/");
    }
}

#[tokio::test]
async fn a_hundred_callers_on_a_cold_start_share_one_connection() {
    let server = Recipe::echo().start().await;
    let client = knowing().build().unwrap();
    a_hundred_at_once(&client, &server).await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn so_they_do_where_the_server_must_first_be_asked_what_it_speaks() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo()
        .tls(&certificate, &["h2", "http/1.1"])
        .start()
        .await;
    let client = trusting(&certificate).build().unwrap();
    a_hundred_at_once(&client, &server).await;
    assert_eq!(server.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn so_they_do_on_many_threads() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let client = trusting(&certificate).build().unwrap();
    let callers = (0..100).map(|_| spawn(&client, &server.at("/")));
    for answer in in_time(join_all(callers)).await {
        assert_eq!(answer.unwrap().unwrap().body, "/");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_hundred_callers_of_http1_behind_tls_have_as_many_connections_as_may_be() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let held = Held::new(|recipe| recipe.tls(&certificate, &["http/1.1"])).await;
    let client = trusting(&certificate)
        .pool(|pool| pool.max_size(4))
        .build()
        .unwrap();
    let url = held.server.at("/");
    let callers = join_all((0..100).map(|_| fetch(&client, get(&url))));
    let opens = async {
        becomes(|| held.waiting(), 4).await;
        held.gate.add_permits(100);
    };
    let (answers, ()) = in_time(async { tokio::join!(callers, opens) }).await;
    for answer in answers {
        assert_eq!(answer.unwrap().served.version, Version::HTTP_11);
    }
    assert_eq!(held.server.accepted(), 4);
}

#[tokio::test]
async fn the_stream_limit_of_the_peer_is_kept_and_more_connections_are_opened() {
    for limit in [1, 2] {
        let held = Held::new(|recipe| recipe.max_streams(limit)).await;
        let client = knowing().pool(|pool| pool.max_size(3)).build().unwrap();
        let url = held.server.at("/");
        let callers = try_join_all((0..12).map(|_| fetch(&client, get(&url))));
        let opens = async {
            becomes(|| held.waiting(), 3 * limit as usize).await;
            held.gate.add_permits(12);
        };
        let (answers, ()) = in_time(async { tokio::join!(callers, opens) }).await;
        assert_eq!(answers.unwrap().len(), 12);
        assert_eq!(held.server.accepted(), 3);
        assert_eq!(held.most_waiting(), 3 * limit as usize);
    }
}

#[tokio::test]
async fn a_cap_of_ours_is_kept_where_the_peer_allows_more() {
    let held = Held::new(|recipe| recipe.max_streams(200)).await;
    let client = knowing()
        .max_streams(5)
        .pool(|pool| pool.max_size(2))
        .build()
        .unwrap();
    let url = held.server.at("/");
    let callers = try_join_all((0..30).map(|_| fetch(&client, get(&url))));
    let opens = async {
        becomes(|| held.waiting(), 10).await;
        held.gate.add_permits(30);
    };
    let (answers, ()) = in_time(async { tokio::join!(callers, opens) }).await;
    answers.unwrap();
    assert_eq!((held.server.accepted(), held.most_waiting()), (2, 10));
}

#[tokio::test]
async fn who_waits_for_a_place_is_served_in_order() {
    let held = Held::new(|recipe| recipe.max_streams(1)).await;
    let client = knowing().pool(|pool| pool.max_size(1)).build().unwrap();
    let done = std::sync::Mutex::new(Vec::new());
    let callers = join_all((0..10).map(|turn| {
        let (client, done, url) = (&client, &done, held.server.at("/"));
        async move {
            fetch(client, get(&url)).await.unwrap();
            done.lock().unwrap().push(turn);
        }
    }));
    let opens = async {
        becomes(|| held.waiting(), 1).await;
        held.gate.add_permits(10);
    };
    in_time(async { tokio::join!(callers, opens) }).await;
    assert_eq!(*done.lock().unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(held.server.accepted(), 1);
}

#[tokio::test]
async fn cancelling_the_caller_who_dialled_first_harms_nobody_else() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let server = Recipe::echo().tls(&certificate, &["h2"]).start().await;
    let client = trusting(&certificate).build().unwrap();
    let url = server.at("/");
    let mut first = Box::pin(fetch(&client, get(&url)));
    // His dial has begun.
    assert!(futures::poll!(&mut first).is_pending());
    let others = try_join_all((0..9).map(|_| fetch(&client, get(&url))));
    let mut others = Box::pin(others);
    assert!(futures::poll!(&mut others).is_pending());
    drop(first);
    assert_eq!(in_time(others).await.unwrap().len(), 9);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_request_that_is_given_up_costs_its_stream_alone() {
    let held = Held::new(|recipe| recipe).await;
    let client = knowing().build().unwrap();
    let url = held.server.at("/");
    let [given_up, kept] = [(); 2].map(|()| spawn(&client, &url));
    becomes(|| held.waiting(), 2).await;
    given_up.abort();
    // The server is told, by RST_STREAM.
    becomes(|| held.waiting(), 1).await;
    held.gate.add_permits(1);
    assert_eq!(in_time(kept).await.unwrap().unwrap().status, 200);
    held.gate.add_permits(1);
    let next = in_time(fetch(&client, get(&url))).await.unwrap();
    assert_eq!(next.served.requests, 2);
    assert_eq!(held.server.accepted(), 1);
}

#[tokio::test]
async fn a_body_that_nobody_reads_costs_its_stream_alone() {
    let big = "x".repeat(8 << 20);
    let recipe = Recipe::new(move |request| {
        let body = match request.uri().path() {
            "/big" => big.clone(),
            _ => String::from("small"),
        };
        async { answer(body) }
    });
    let server = recipe.start().await;
    let client = knowing().build().unwrap();
    for turn in 0..20 {
        // Longer than all windows of the connection together, so that nothing would pass if they were not given back.
        let unread = in_time(client.request(get(&server.at("/big"))))
            .await
            .unwrap();
        drop(unread);
        let answer = in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
        assert_eq!(answer.body, "small");
        assert_eq!(answer.served.requests, 2 * turn + 1);
    }
    assert_eq!(server.accepted(), 1);
    becomes(|| client.pool().status().in_use, 0).await;
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closes_is_closed_here_too() {
    let server = Recipe::echo().start().await;
    let client = knowing().build().unwrap();
    in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
    becomes(|| client.pool().status().idle, 1).await;
    server.kill();
    becomes(|| client.pool().status().size(), 0).await;
}

#[tokio::test]
async fn an_idle_connection_that_the_server_says_goodbye_on_is_closed_here_too() {
    let server = Recipe::echo().start().await;
    let client = knowing().build().unwrap();
    in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
    server.say_goodbye();
    becomes(|| client.pool().status().size(), 0).await;
    becomes(|| server.open(), 0).await;
    let answer = in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
    assert_eq!((answer.served.requests, answer.served.replays), (0, 0));
}

#[tokio::test]
async fn after_a_goodbye_new_requests_go_elsewhere_and_open_ones_finish() {
    let held = Held::new(|recipe| recipe).await;
    let client = knowing().build().unwrap();
    let url = held.server.at("/");
    let open = join_all((0..5).map(|_| spawn(&client, &url)));
    becomes(|| held.waiting(), 5).await;
    let origin = Origin::of(&url.parse().unwrap()).unwrap();
    let place = in_time(client.pool().lease(&origin)).await.unwrap();
    let first = Leased::info(&place).id;
    drop(place);

    held.server.say_goodbye();
    // It is heard without a request that has to try.
    in_time(async {
        while Leased::info(&client.pool().lease(&origin).await.unwrap()).id == first {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let new = spawn(&client, &url);
    becomes(|| held.waiting(), 6).await;
    assert_eq!(client.pool().status_of(&origin).unwrap().in_use, 2);
    held.gate.add_permits(6);
    let new = in_time(new).await.unwrap().unwrap();
    assert_ne!(new.served.id, first);
    for answer in in_time(open).await {
        let served = answer.unwrap().unwrap().served;
        assert_eq!((served.id, served.replays), (first, 0));
    }
    becomes(|| held.server.open(), 1).await;
}

#[tokio::test]
async fn nothing_is_lost_to_goodbyes_under_load() {
    let server = Recipe::echo().start().await;
    let client = knowing().build().unwrap();
    let url = server.at("/");
    let callers = try_join_all((0..20).map(|_| async {
        for _ in 0..50 {
            fetch(&client, get(&url)).await?;
        }
        Ok::<_, RequestError>(())
    }));
    let goodbyes = async {
        for _ in 0..20 {
            server.say_goodbye();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (served, ()) = in_time(async { tokio::join!(callers, goodbyes) }).await;
    served.unwrap();
}

#[tokio::test]
async fn no_socket_is_left_when_the_client_is_dropped() {
    let held = Held::new(|recipe| recipe.max_streams(1)).await;
    let client = knowing().pool(|pool| pool.max_size(3)).build().unwrap();
    let url = held.server.at("/");
    let callers = try_join_all((0..3).map(|_| fetch(&client, get(&url))));
    let opens = async {
        becomes(|| held.waiting(), 3).await;
        held.gate.add_permits(3);
    };
    let (answers, ()) = in_time(async { tokio::join!(callers, opens) }).await;
    answers.unwrap();
    assert_eq!(held.server.open(), 3);
    drop(client);
    becomes(|| held.server.open(), 0).await;
}

#[tokio::test]
async fn an_origin_may_change_what_it_speaks() {
    let certificate = Arc::new(Certificate::of("localhost"));
    let http1 = Recipe::echo()
        .tls(&certificate, &["http/1.1"])
        .start()
        .await;
    let port = http1.address;
    let client = trusting(&certificate).build().unwrap();
    let mut server = http1;
    for turn in 0..6 {
        let (protocols, version): (&[_], _) = match turn % 2 {
            0 => (&["http/1.1"], Version::HTTP_11),
            _ => (&["h2"], Version::HTTP_2),
        };
        if turn > 0 {
            server.kill();
            becomes(|| client.pool().status().size(), 0).await;
            drop(server);
            let listener = reuse(port).await;
            server = Recipe::echo()
                .tls(&certificate, protocols)
                .start_on(listener);
        }
        for _ in 0..3 {
            let answer = in_time(fetch(&client, get(&server.at("/")))).await.unwrap();
            assert_eq!(answer.served.version, version, "turn {turn}");
        }
        assert_eq!(server.accepted(), 1);
    }
}

/// The kernel may need a moment until the port is free again.
async fn reuse(address: std::net::SocketAddr) -> tokio::net::TcpListener {
    in_time(async {
        loop {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            if socket.bind(address).is_ok()
                && let Ok(listener) = socket.listen(128)
            {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_server_that_speaks_http1_is_found_out_before_anything_is_sent() {
    let server = Recipe::echo().http1().start().await;
    let client = knowing()
        .pool(|pool| pool.each(|_, pool| pool.on_connect_error(OnConnectError::Fail)))
        .build()
        .unwrap();
    let error = in_time(fetch(&client, support_h2::post(&server.at("/")))).await;
    let error = error.unwrap_err();
    assert_eq!(error.fate(), Fate::NotSent, "{error}");
    assert!(error.to_string().contains("does not speak HTTP"), "{error}");
}

/// RFC 9113 §8.3.1
#[tokio::test]
async fn the_password_in_a_url_is_no_part_of_its_authority() {
    let recipe = Recipe::new(async |request| answer(request.uri().to_string()));
    let server = recipe.start().await;
    let client = knowing().build().unwrap();
    let url = format!("http://user:secret@{}/x", server.address);
    let answer = in_time(fetch(&client, get(&url))).await.unwrap();
    assert_eq!(answer.body, format!("http://{}/x", server.address));
}
