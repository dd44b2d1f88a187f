//! A Redis Cluster of the test's own: three masters that share the slots, and no replicas.

use super::Reply;
use super::server::{RedisServer, Setup};
use super::wait::arrives;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// How many masters.
const NODES: u16 = 3;

/// Three masters; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts it and waits until every node knows all others and serves; `None` if Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(Setup::default())
    }

    /// As [`start`](Self::start), with more lines of configuration for each node.
    pub(crate) fn start_with(setup: Setup) -> Option<Self> {
        let setup = setup
            .line("cluster-enabled yes")
            // While one master is away, the others are to serve their own slots.
            .line("cluster-require-full-coverage no")
            .line("cluster-node-timeout 5000");
        let nodes = (0..NODES)
            .map(|_| setup.clone().start())
            .collect::<Option<Vec<_>>>()?;
        let cluster = Self { nodes };
        for (node, index) in cluster.nodes.iter().zip(0..) {
            let share = |index| u32::from(SLOTS) * index / u32::from(NODES);
            node.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            node.command(&format!(
                "CLUSTER ADDSLOTSRANGE {} {}",
                share(index),
                share(index + 1) - 1
            ));
        }
        for other in &cluster.nodes[1..] {
            cluster.nodes[0].command(&format!("CLUSTER MEET 127.0.0.1 {}", other.port()));
        }
        cluster.settles();
        Some(cluster)
    }

    /// Waits until every node knows all slots and all others.
    pub(crate) fn settles(&self) {
        arrives(|| self.nodes.iter().all(is_settled));
    }

    pub(crate) fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let slot = self.nodes[0].ask(&format!("CLUSTER KEYSLOT {key}"));
        u16::try_from(slot.integer()).expect("a slot is less than 16,384")
    }

    /// A key in the share with which this node began.
    pub(crate) fn key_of(&self, node: usize) -> String {
        (0..)
            .map(|number| format!("key:{number}"))
            .find(|key| {
                usize::from(self.slot(key)) * usize::from(NODES) / usize::from(SLOTS) == node
            })
            .expect("there are keys in every slot")
    }

    /// Has a slot moved, with the keys in it, from one node to another, as an operator does.
    pub(crate) fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.move_keys(slot, from, to);
        let target = self.id(to);
        for node in [to, from].into_iter().chain(0..self.nodes.len()) {
            self.nodes[node].command(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        }
        // Otherwise the next owner might claim it with an epoch that is no later than this one's, and lose it again, with
        // its keys.
        let epoch = number(&self.nodes[to], "cluster_my_epoch");
        arrives(|| {
            let known = |node| number(node, "cluster_current_epoch") >= epoch;
            self.nodes.iter().all(known)
        });
    }

    /// Moves the keys of a slot that has begun to move.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let keys = self.nodes[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
        let Reply::Array(keys) = keys else {
            panic!("no keys: {keys:?}");
        };
        for key in keys {
            self.move_key(key.text(), from, to);
        }
    }

    /// From now on the old owner sends those who ask for a key that it does not have to the new one (`ASK`).
    pub(crate) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (self.id(from), self.id(to));
        self.nodes[to].command(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        self.nodes[from].command(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
    }

    fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port();
        self.nodes[from].command(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000 REPLACE"));
    }

    /// The name by which the others know a node.
    fn id(&self, node: usize) -> String {
        self.nodes[node].ask("CLUSTER MYID").text().to_owned()
    }
}

/// What a node says of itself under this name.
fn number(node: &RedisServer, name: &str) -> u64 {
    let info = node.ask("CLUSTER INFO");
    let mut lines = info.text().lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines
        .find(|(known, _)| *known == name)
        .expect("a node of a cluster knows its epochs");
    value.parse().expect("an epoch is a number")
}

fn is_settled(node: &RedisServer) -> bool {
    let info = node.ask("CLUSTER INFO");
    let has = |line: &str| info.text().lines().any(|known| known == line);
    has("cluster_state:ok")
        && has(&format!("cluster_slots_ok:{SLOTS}"))
        && has(&format!("cluster_known_nodes:{NODES}"))
}
