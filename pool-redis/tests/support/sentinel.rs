//! A set of servers under the eyes of sentinels: one master, two replicas, three sentinels.

use super::Reply;
use super::server::{RedisServer, Setup};
use super::wait::arrives;

/// The name under which the sentinels know the master.
pub(crate) const MASTER: &str = "orders";

const REPLICAS: usize = 2;
const SENTINELS: usize = 3;

/// The servers and their sentinels; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct SentinelSet {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

/// What is asked of those who connect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passwords {
    pub(crate) servers: Option<&'static str>,
    pub(crate) sentinels: Option<&'static str>,
}

impl SentinelSet {
    /// Starts them and waits until the replicas are in step and each sentinel knows all others; `None` if Redis is not
    /// installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(Passwords::default())
    }

    /// As [`start`](Self::start), with passwords.
    pub(crate) fn start_with(passwords: Passwords) -> Option<Self> {
        let mut setup = Setup::default()
            .line("repl-diskless-sync-delay 0")
            .line("repl-ping-replica-period 1");
        if let Some(password) = passwords.servers {
            setup = setup
                .line(format!("requirepass {password}"))
                .line(format!("masterauth {password}"));
        }
        let master = setup.clone().start()?;
        let replica = setup.line(format!("replicaof 127.0.0.1 {}", master.port()));
        let mut servers = vec![master];
        for _ in 0..REPLICAS {
            servers.push(replica.clone().start()?);
        }
        // A sentinel learns of replicas when it asks the master, which it does every ten seconds only.
        arrives(|| servers[1..].iter().all(is_in_step));
        let sentinel = sentinel_of(servers[0].port(), passwords);
        let sentinels = (0..SENTINELS)
            .map(|_| sentinel.clone().start())
            .collect::<Option<Vec<_>>>()?;
        let set = Self { servers, sentinels };
        arrives(|| (0..SENTINELS).all(|sentinel| set.knows_all(sentinel)));
        Some(set)
    }

    /// The master at the start, then its replicas at the start.
    pub(crate) fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    pub(crate) fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Of the sentinels.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// The server with this port.
    pub(crate) fn server(&self, port: u16) -> &RedisServer {
        let mut servers = self.servers.iter();
        servers
            .find(|server| server.port() == port)
            .expect("one of ours")
    }

    /// The port of the master, as one sentinel knows it.
    pub(crate) fn master_by(&self, sentinel: usize) -> u16 {
        let address =
            self.sentinels[sentinel].ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}"));
        match &address {
            Reply::Array(address) => address[1].text().parse().expect("a port"),
            other => panic!("no address: {other:?}"),
        }
    }

    /// Whether every sentinel knows another master than this.
    pub(crate) fn has_left(&self, port: u16) -> bool {
        (0..SENTINELS).all(|sentinel| self.master_by(sentinel) != port)
    }

    /// Asks a sentinel to have a replica take over, though the master is there.
    pub(crate) fn fail_over(&self, sentinel: usize) {
        // The sentinel may not know yet that the replicas are fit for it.
        arrives(|| {
            let answer = self.sentinels[sentinel].ask(&format!("SENTINEL FAILOVER {MASTER}"));
            answer == Reply::Text("OK".to_owned())
        });
    }

    fn knows_all(&self, sentinel: usize) -> bool {
        let Reply::Array(fields) =
            self.sentinels[sentinel].ask(&format!("SENTINEL MASTER {MASTER}"))
        else {
            return false;
        };
        let field = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find_map(|pair| (pair[0].text() == name).then(|| pair[1].text().to_owned()))
        };
        field("num-slaves") == Some(REPLICAS.to_string())
            && field("num-other-sentinels") == Some((SENTINELS - 1).to_string())
            && field("flags").as_deref() == Some("master")
    }
}

fn sentinel_of(master: u16, passwords: Passwords) -> Setup {
    let mut setup = Setup::default()
        .sentinel()
        .line(format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"))
        .line(format!("sentinel down-after-milliseconds {MASTER} 1000"))
        .line(format!("sentinel failover-timeout {MASTER} 10000"));
    if let Some(password) = passwords.servers {
        setup = setup.line(format!("sentinel auth-pass {MASTER} {password}"));
    }
    if let Some(password) = passwords.sentinels {
        setup = setup
            .line(format!("requirepass {password}"))
            .line(format!("sentinel sentinel-pass {password}"));
    }
    setup
}

/// Whether a replica follows its master.
fn is_in_step(replica: &RedisServer) -> bool {
    let info = replica.ask("INFO replication");
    let mut lines = info.text().lines();
    lines.any(|line| line == "master_link_status:up")
}
