//! What a checkout and a check-in ask of the kernel, with the watch and the exact probe on real connections.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pool_core::{Manager, Pool};
use pool_tcp::{TcpConnection, TcpManager};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

use super::backend::MESSAGE;
use super::{Effort, Suite};
use crate::findings::{Finding, Table, Target};

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "system-calls",
    question: "How many system calls does a checkout cost on a real connection?",
    measure,
};

/// The argument by which a program knows that it is the child; [`run_watched`] does what is to be counted.
pub const CHILD: &str = "--watched-by-strace";

/// What is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// A checkout and a check-in.
    Cycle,
    /// The same with a request and its answer in between.
    Request(Reading),
    /// The request on a connection that is in no pool.
    Bare(Reading),
}

/// How an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Into a buffer with room for more, as parsers read.
    Roomy,
    /// Exactly as many bytes as it has: nobody knows then that there are no more.
    Exact,
}

impl Work {
    const ALL: [Self; 5] = [
        Self::Cycle,
        Self::Bare(Reading::Roomy),
        Self::Request(Reading::Roomy),
        Self::Bare(Reading::Exact),
        Self::Request(Reading::Exact),
    ];

    fn in_words(self) -> &'static str {
        match self {
            Self::Cycle => "ours: checkout and check-in",
            Self::Bare(Reading::Roomy) => "request and answer, no pool",
            Self::Request(Reading::Roomy) => "ours: checkout, request and answer, check-in",
            Self::Bare(Reading::Exact) => "answer read exactly, no pool",
            Self::Request(Reading::Exact) => "ours: checkout, answer read exactly, check-in",
        }
    }
}

/// Calls by name.
type Calls = BTreeMap<String, u64>;

fn measure(effort: &Effort) -> Finding {
    let times = effort.pick(100, 1000);
    let calls: Result<Vec<_>, _> = Work::ALL
        .into_iter()
        .map(|work| each(work, times))
        .collect();
    match calls {
        Ok(calls) => finding(&calls, times),
        Err(error) => Finding::not_measured(error),
    }
}

/// Calls of one time, by name.
fn each(work: Work, times: u64) -> Result<BTreeMap<String, f64>, String> {
    // What is done but once, such as dialling, is in both.
    let (few, many) = (strace(work, times)?, strace(work, 2 * times)?);
    let each = |(name, many): (String, u64)| {
        let few = few.get(&name).copied().unwrap_or(0);
        (name, (many as f64 - few as f64) / times as f64)
    };
    let each = many.into_iter().map(each);
    // Less is what the machine did, now and then.
    Ok(each.filter(|(_, calls)| *calls >= 0.005).collect())
}

/// What this program's main thread asks of the kernel when it does so much work.
fn strace(work: Work, times: u64) -> Result<Calls, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let place = Work::ALL.iter().position(|each| *each == work);
    let output = Command::new("strace")
        .args(["-c", "-U", "calls,name"])
        .arg(program)
        .arg(CHILD)
        .arg(place.expect("it is one of them").to_string())
        .arg(times.to_string())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("strace cannot be run ({error})"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(parse(&text)),
        false => Err(format!("strace ended with {}: {text}", output.status)),
    }
}

/// Reads lines of a number and a name; others are headings and sums.
fn parse(text: &str) -> Calls {
    let line = |line: &str| {
        let (calls, name) = line.trim().split_once(char::is_whitespace)?;
        Some((name.trim().to_owned(), calls.parse().ok()?))
    };
    let mut calls: Calls = text.lines().filter_map(line).collect();
    calls.remove("total");
    calls
}

fn finding(each: &[BTreeMap<String, f64>], times: u64) -> Finding {
    let mut table = Table::new("System calls", &["work", "in all", "which"]);
    for (work, calls) in Work::ALL.into_iter().zip(each) {
        let which = calls
            .iter()
            .map(|(name, calls)| format!("{calls:.2} {name}"));
        let which = which.collect::<Vec<_>>().join(", ");
        table.row([
            work.in_words().to_owned(),
            format!("{:.2}", sum(calls)),
            which,
        ]);
    }
    let [cycle, bare, request, bare_exact, exact] = each else {
        unreachable!("there are five kinds of work");
    };
    let (alone, around, exactly) = (
        sum(cycle),
        sum(request) - sum(bare),
        sum(exact) - sum(bare_exact),
    );
    let told = format!(
        "{alone:.2} alone, {around:.2} around a request, {exactly:.2} around one that is read exactly"
    );
    Finding {
        seen: format!(
            "Exact probe, watch and all, this pool adds {told}. One is the look at the socket before it is handed out. The watch costs \
             none, unless the answer was read exactly: then it looks whether there is more, and the next read need not, which would \
             be in vain without a pool."
        ),
        method: vec![format!(
            "A pool of one connection over loopback TCP, on one thread, whose system calls are counted by strace; {times} times more \
             in one run than in another, and the difference divided. The server is another thread, and answers after a millisecond, \
             so that everybody waits."
        )],
        tables: vec![table],
        targets: vec![Target::new(
            "with the watch and the exact probe on real TCP the whole cycle costs at most one system call",
            told.clone(),
            [alone, around, exactly].iter().all(|calls| *calls <= 1.05),
        )],
        ..Finding::default()
    }
}

fn sum(calls: &BTreeMap<String, f64>) -> f64 {
    calls.values().sum()
}

/// Does what the arguments after [`CHILD`] say; to be called first thing, if [`CHILD`] is among the arguments.
///
/// # Panics
///
/// When there are no such arguments, or no connection.
pub fn run_watched() {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != CHILD)
        .skip(1);
    let mut number = || {
        let argument = arguments.next().expect("two numbers");
        argument.parse::<usize>().expect("a number")
    };
    let (work, times) = (Work::ALL[number()], number());
    let runtime = Builder::new_current_thread().enable_all().build();
    let address = server().expect("loopback has a free port");
    let done = runtime
        .expect("a runtime")
        .block_on(repeat(work, times, address));
    done.expect("the server answers");
}

async fn repeat(work: Work, times: usize, address: SocketAddr) -> io::Result<()> {
    let manager = TcpManager::new(&address.to_string()).map_err(io::Error::other)?;
    let mut bare = manager.connect().await.map_err(io::Error::other)?;
    let pool = Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(io::Error::other)?;
    for _ in 0..times {
        match work {
            Work::Cycle => drop(pool.checkout().await.map_err(io::Error::other)?),
            Work::Request(reading) => {
                let mut connection = pool.checkout().await.map_err(io::Error::other)?;
                request(&mut connection, reading).await?;
            }
            Work::Bare(reading) => request(&mut bare, reading).await?,
        }
    }
    Ok(())
}

async fn request(connection: &mut TcpConnection, reading: Reading) -> io::Result<()> {
    connection.write_all(&MESSAGE).await?;
    let read = match reading {
        Reading::Roomy => connection.read(&mut [0; 2 * MESSAGE.len()]).await?,
        Reading::Exact => connection.read_exact(&mut [0; MESSAGE.len()]).await?,
    };
    match read {
        len if len == MESSAGE.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Sends back what it is sent, each connection on a thread of its own.
fn server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || echo(socket));
        }
    });
    Ok(address)
}

fn echo(mut socket: TcpStream) -> io::Result<()> {
    let mut request = [0; MESSAGE.len()];
    loop {
        socket.read_exact(&mut request)?;
        thread::sleep(Duration::from_millis(1));
        socket.write_all(&request)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
    calls syscall
--------- ----------------
     2000 poll
       12 epoll_wait
--------- ----------------
     2012 total
";

    #[test]
    fn calls_are_read_by_name_and_the_sum_is_left_out() {
        let calls = parse(TABLE);
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert_eq!((calls["poll"], calls["epoll_wait"]), (2000, 12));
    }
}
