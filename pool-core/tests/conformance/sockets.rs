//! Managers of real sockets: a plain one, one whose socket belongs to a task, and what they do wrong if they are careless.

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pool_core::testkit::conformance::{Report, Rule, Server, Subject};
use pool_core::testkit::{Peer, Scripted, TcpServer};
use pool_core::{Dropped, Manager, Recycle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// One byte goes there, and the same comes back.
fn server() -> TcpServer {
    TcpServer::start(|mut socket| {
        let mut byte = [0];
        loop {
            socket.read_exact(&mut byte)?;
            socket.write_all(&byte)?;
        }
    })
    .unwrap()
}

/// A question that was not asked before, as far as a byte goes.
fn question() -> u8 {
    static QUESTIONS: AtomicUsize = AtomicUsize::new(0);
    QUESTIONS.fetch_add(1, Ordering::Relaxed) as u8
}

fn is_answer(answer: u8, question: u8) -> io::Result<()> {
    match answer == question {
        true => Ok(()),
        false => Err(io::Error::other("this was the answer to another question")),
    }
}

fn broken(report: &Report) -> Vec<Rule> {
    report.broken().map(|(rule, _)| rule).collect()
}

/// The plain one. How it looks at a connection, and what it keeps, is up to the test.
#[derive(Clone, Copy)]
struct Plain {
    address: SocketAddr,
    look: fn(&mut TcpStream) -> bool,
    is_in_order: fn(&mut PlainConnection) -> bool,
}

struct PlainConnection {
    stream: TcpStream,
    answer_due: bool,
}

impl PlainConnection {
    async fn ask(&mut self) -> io::Result<()> {
        let question = question();
        self.answer_due = true;
        self.stream.write_all(&[question]).await?;
        let mut answer = [0];
        self.stream.read_exact(&mut answer).await?;
        self.answer_due = false;
        is_answer(answer[0], question)
    }
}

/// What tokio has heard from the reactor.
fn try_read(stream: &mut TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// What many take for the same.
fn read_now_or_never(stream: &mut TcpStream) -> bool {
    let mut buffer = [0];
    let mut read = pin!(stream.read(&mut buffer));
    read.as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

impl Manager for Plain {
    type Connection = PlainConnection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<PlainConnection> {
        Ok(PlainConnection {
            stream: TcpStream::connect(self.address).await?,
            answer_due: false,
        })
    }

    fn is_dropped(&self, connection: &mut PlainConnection) -> bool {
        (self.look)(&mut connection.stream)
    }

    fn poll_dropped(
        &self,
        connection: &mut PlainConnection,
        cx: &mut Context<'_>,
    ) -> Poll<Dropped> {
        loop {
            if ready!(connection.stream.poll_read_ready(cx)).is_err()
                || try_read(&mut connection.stream)
            {
                return Poll::Ready(Dropped::Closed);
            }
        }
    }

    fn recycle(&self, connection: &mut PlainConnection) -> Recycle {
        match (self.is_in_order)(connection) {
            true => Recycle::Keep,
            false => Recycle::Discard,
        }
    }
}

impl Plain {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            look: try_read,
            is_in_order: |connection| !connection.answer_due,
        }
    }
}

/// With what the test changes.
fn plain(change: impl FnOnce(&mut Plain)) -> Subject<Plain> {
    let server = server();
    let mut plain = Plain::new(server.address());
    change(&mut plain);
    Subject::new(move || plain, server).use_once(PlainConnection::ask)
}

#[tokio::test]
async fn a_plain_manager_keeps_every_rule_that_it_is_asked() {
    let report = plain(|_| {}).check().await;
    report.assert();
    let not_asked: Vec<_> = report.not_asked().collect();
    assert_eq!(not_asked, [Rule::KernelIsAsked]);
}

#[tokio::test]
async fn a_probe_that_trusts_the_reactor_is_not_exact() {
    let report = plain(|_| {})
        .exact()
        .limit(Duration::from_secs(3))
        .check()
        .await;
    assert_eq!(broken(&report), [Rule::KernelIsAsked], "{report}");
}

#[tokio::test]
async fn a_read_polled_once_lies_to_a_task_whose_budget_is_spent() {
    let report = plain(|plain| plain.look = read_now_or_never).check().await;
    assert_eq!(broken(&report), [Rule::BudgetIsNoExcuse], "{report}");
}

#[tokio::test]
async fn to_look_for_a_late_answer_is_too_early() {
    let looks = |connection: &mut PlainConnection| !try_read(&mut connection.stream);
    let report = plain(|plain| plain.is_in_order = looks).check().await;
    assert_eq!(broken(&report), [Rule::AbandonedIsNotKept], "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_is_the_affair_of_the_test_alone() {
    plain(|_| {}).check().await.assert();
}

#[test]
fn it_may_be_awaited_on_any_executor() {
    futures::executor::block_on(plain(|_| {}).check()).assert();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_the_one_thing_that_is_told() {
    // Taken, so that nobody else listens there; and without a backlog.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let report = Subject::new(move || Plain::new(address), Peer::default())
        .check()
        .await;
    let (rule, fault) = report.broken().next().unwrap();
    assert_eq!((rule, report.broken().count()), (Rule::ConnectConnects, 1));
    assert!(
        fault.to_string().starts_with("connect: failed: "),
        "{fault}"
    );
    assert!(
        report.to_string().contains("there is no connection"),
        "{report}"
    );
}

/// The socket belongs to a task that pairs answers with questions, as in most drivers.
struct Driven {
    address: SocketAddr,
    /// Whether `close` waits for the task.
    waits: bool,
}

struct Driver {
    questions: Option<mpsc::Sender<(u8, oneshot::Sender<u8>)>>,
    task: JoinHandle<()>,
    has_ended: bool,
}

impl Driver {
    async fn ask(&mut self) -> io::Result<()> {
        let question = question();
        let (answer, answered) = oneshot::channel();
        let questions = self.questions.as_ref().expect("it is gone once closed");
        let asked = questions.send((question, answer)).await;
        asked.map_err(io::Error::other)?;
        is_answer(answered.await.map_err(io::Error::other)?, question)
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_ended {
            let _ = ready!(Pin::new(&mut self.task).poll(cx));
            self.has_ended = true;
        }
        Poll::Ready(())
    }
}

async fn drive(mut stream: TcpStream, mut questions: mpsc::Receiver<(u8, oneshot::Sender<u8>)>) {
    let mut byte = [0];
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some((question, answer)) = question else { return };
                if stream.write_all(&[question]).await.is_err() || stream.read_exact(&mut byte).await.is_err() {
                    return;
                }
                let _ = answer.send(byte[0]);
            }
            // The end, or what nobody asked for.
            _ = stream.read(&mut byte) => return,
        }
    }
}

impl Manager for Driven {
    type Connection = Driver;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Driver> {
        let stream = TcpStream::connect(self.address).await?;
        let (questions, asked) = mpsc::channel(1);
        Ok(Driver {
            questions: Some(questions),
            task: tokio::spawn(drive(stream, asked)),
            has_ended: false,
        })
    }

    fn is_dropped(&self, driver: &mut Driver) -> bool {
        driver.task.is_finished()
    }

    fn poll_dropped(&self, driver: &mut Driver, cx: &mut Context<'_>) -> Poll<Dropped> {
        driver.poll_ended(cx).map(|()| Dropped::Closed)
    }

    async fn close(&self, mut driver: Driver) {
        driver.questions = None;
        if self.waits {
            std::future::poll_fn(|cx| driver.poll_ended(cx)).await;
        }
    }
}

async fn check_driven(waits: bool) -> Report {
    let server = server();
    let address = server.address();
    Subject::new(move || Driven { address, waits }, server)
        .use_once(Driver::ask)
        .limit(Duration::from_secs(if waits { 10 } else { 3 }))
        .check()
        .await
}

#[tokio::test]
async fn a_manager_whose_socket_belongs_to_a_task_keeps_every_rule_if_it_waits_for_it() {
    let report = check_driven(true).await;
    report.assert();
    let not_asked: Vec<_> = report.not_asked().collect();
    assert_eq!(not_asked, [Rule::KernelIsAsked]);
}

#[tokio::test]
async fn a_close_that_leaves_the_socket_to_a_task_is_found_out() {
    let report = check_driven(false).await;
    assert!(broken(&report).contains(&Rule::CloseCloses), "{report}");
}

// --- the servers

#[test]
fn a_server_counts_a_client_until_the_client_has_closed() {
    let server = server();
    let client = std::net::TcpStream::connect(server.address()).unwrap();
    wait_until(|| server.open() == 1);
    server.hang_up();
    let end = (&client).read(&mut [0]).unwrap();
    assert_eq!((end, server.open()), (0, 1), "in CLOSE_WAIT");
    drop(client);
    wait_until(|| server.open() == 0);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_paused_server_takes_nobody_in() {
    let server = server();
    server.pause();
    let mut client = std::net::TcpStream::connect(server.address()).unwrap();
    client.write_all(b"?").unwrap();
    let patience = Duration::from_millis(20);
    client.set_read_timeout(Some(patience)).unwrap();
    client.read_exact(&mut [0]).unwrap_err();
    assert_eq!(server.open(), 0);
    server.resume();
    client.set_read_timeout(None).unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert_eq!(server.open(), 1);
}

#[test]
fn a_server_that_is_dropped_ends_its_connections_and_listens_no_more() {
    let server = server();
    let address = server.address();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    wait_until(|| server.open() == 1);
    drop(server);
    assert!(!matches!(client.read(&mut [0]), Ok(read) if read > 0));
    std::net::TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
#[should_panic(expected = "there is no connection 2: 1 were dialled")]
async fn a_peer_does_not_hang_up_on_whom_it_does_not_know() {
    let manager = Scripted::new();
    drop(manager.connect().await.unwrap());
    // It has gone, which may happen to anybody.
    manager.peer().hang_up(1);
    manager.peer().hang_up(2);
}

fn wait_until(is_true: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is_true() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not happen");
}
