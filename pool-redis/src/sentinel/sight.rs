//! What the sentinels have said so far, and what follows from it for the connections there are.
//!
//! Sentinels learn of a failover one after the other, within seconds. Each failover has a number, the epoch, which is
//! higher than that of the one before: so a sentinel that is behind is known by its epoch, and does not lead anybody
//! back to the old master.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pool_core::Capacity;
use tokio::sync::watch;

use crate::driver::Probe;
use crate::sentinel::node::Node;
use crate::sentinel::role::Role;

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) master: Node,
    /// Of the failover that made it the master.
    pub(crate) epoch: u64,
}

/// What is known, and the connections that depend on it.
#[derive(Debug)]
pub(crate) struct Sight {
    /// What the connections are to be made to.
    role: Role,
    state: Mutex<State>,
    /// The master, for those who wait for it to be another.
    master: watch::Sender<Option<Node>>,
}

#[derive(Debug)]
struct State {
    believed: Option<Answer>,
    /// What each sentinel has said, as long as it is there to say otherwise.
    opinions: Vec<Option<Answer>>,
    ties: Vec<Tie>,
}

/// A socket, the server it goes to, and whom to tell that nobody is to have it any more.
#[derive(Debug)]
struct Tie {
    node: Node,
    probe: Probe,
    capacity: Option<Capacity>,
}

impl Sight {
    pub(crate) fn new(sentinels: usize, role: Role) -> Self {
        Self {
            role,
            state: Mutex::new(State {
                believed: None,
                opinions: vec![None; sentinels],
                ties: Vec::new(),
            }),
            master: watch::Sender::new(None),
        }
    }

    /// Sentinel number `sentinel` has spoken; answers with the master as the best of them know it.
    ///
    /// If that is news, the sockets that go elsewhere are shut down, in use or not: a command that the old master has
    /// not answered may never be, as it may have been stopped or cut off, and what it writes is lost.
    pub(crate) fn hear(&self, sentinel: usize, answer: Answer) -> Node {
        let mut state = self.lock();
        let believed = state.weigh(sentinel, answer);
        // Whoever has the lock next is not tied to the old master any more.
        let cut = state.take(|tie| !self.role.may_be_at(&tie.node, &believed));
        drop(state);
        cut.into_iter().for_each(Tie::cut);
        self.master.send_if_modified(|master| {
            // Looked up here: another may have had the lock between.
            let latest = self.lock().believed.as_ref().map(|it| it.master.clone());
            std::mem::replace(master, latest.clone()) != latest
        });
        believed
    }

    /// Nobody listens to this sentinel any more: what it said last may be out of date.
    pub(crate) fn forget(&self, sentinel: usize) {
        self.lock().opinions[sentinel] = None;
    }

    /// From now on the socket goes down when the master moves and `node` is not what it was dialled for any more; and its
    /// `capacity` with it, before anybody else is let in.
    ///
    /// # Errors
    ///
    /// The master, if that has happened already.
    pub(crate) fn tie(
        &self,
        node: &Node,
        probe: Probe,
        capacity: Option<Capacity>,
    ) -> Result<(), Node> {
        let mut state = self.lock();
        if let Some(believed) = &state.believed
            && !self.role.may_be_at(node, &believed.master)
        {
            return Err(believed.master.clone());
        }
        state.take(|tie| tie.probe.is_closed());
        state.ties.push(Tie {
            node: node.clone(),
            probe,
            capacity,
        });
        Ok(())
    }

    /// Ends when the master has moved so that `node` is not what it was dialled for any more, with the new master.
    pub(crate) async fn moved(&self, node: &Node) -> Node {
        let mut master = self.master.subscribe();
        let moved = master.wait_for(|master| {
            let mut known = master.iter();
            known.any(|master| !self.role.may_be_at(node, master))
        });
        let moved = moved.await.expect("its sender is in self");
        moved.clone().expect("it was looked at")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Believes the answer unless somebody knows better, and says what is believed then.
    fn weigh(&mut self, sentinel: usize, answer: Answer) -> Node {
        self.opinions[sentinel] = None;
        // As long as another sentinel stands for what is believed, only a later failover says otherwise. Sentinels may be
        // set up anew, and count from zero again: what nobody stands for any more is void.
        let stands = |believed: &Answer| self.opinions.iter().flatten().any(|it| it == believed);
        let is_upheld = |believed: &Answer| answer.epoch <= believed.epoch && stands(believed);
        let is_upheld = self.believed.as_ref().is_some_and(is_upheld);
        self.opinions[sentinel] = Some(answer.clone());
        match &self.believed {
            Some(believed) if is_upheld => believed.master.clone(),
            _ => self.believed.insert(answer).master.clone(),
        }
    }

    /// Forgets these sockets.
    fn take(&mut self, which: impl Fn(&Tie) -> bool) -> Vec<Tie> {
        self.ties.extract_if(.., |tie| which(tie)).collect()
    }
}

impl Tie {
    fn cut(self) {
        if let Some(capacity) = self.capacity {
            capacity.drain();
        }
        self.probe.shutdown_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use pool_tcp::{OnReadable, PoolStream};
    use tokio::net::{TcpListener, TcpStream};

    fn node(port: u16) -> Node {
        Node {
            host: "localhost".to_owned(),
            port,
        }
    }

    fn answer(port: u16, epoch: u64) -> Answer {
        Answer {
            master: node(port),
            epoch,
        }
    }

    /// A stream and its probe; the kernel keeps the other end open as long as the listener is there.
    async fn socket() -> (PoolStream, Probe, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = PoolStream::new(TcpStream::connect(address).await.unwrap());
        let probe = Probe::new(stream.probe(), OnReadable::Discard);
        (stream, probe, listener)
    }

    #[test]
    fn a_sentinel_that_is_behind_does_not_lead_back_to_the_old_master() {
        let sight = Sight::new(3, Role::Master);
        assert_eq!(sight.hear(0, answer(1, 7)), node(1));
        assert_eq!(sight.hear(1, answer(2, 8)), node(2));
        assert_eq!(sight.hear(0, answer(1, 7)), node(2));
        assert_eq!(sight.hear(0, answer(2, 8)), node(2));
        assert_eq!(sight.hear(0, answer(3, 9)), node(3));
    }

    #[test]
    fn two_that_disagree_about_one_failover_do_not_lead_back_and_forth() {
        let sight = Sight::new(2, Role::Master);
        sight.hear(0, answer(1, 7));
        assert_eq!(sight.hear(1, answer(2, 7)), node(1));
        // The one that was believed may correct itself.
        assert_eq!(sight.hear(0, answer(3, 7)), node(3));
    }

    #[test]
    fn sentinels_that_were_set_up_anew_are_believed_once_nobody_stands_for_the_old_epoch() {
        let sight = Sight::new(2, Role::Master);
        sight.hear(0, answer(1, 7));
        sight.hear(1, answer(1, 7));
        assert_eq!(sight.hear(0, answer(2, 0)), node(1));
        sight.forget(1);
        assert_eq!(sight.hear(0, answer(2, 0)), node(2));
    }

    #[test]
    fn the_only_sentinel_is_believed_whatever_it_said_before() {
        let sight = Sight::new(1, Role::Master);
        sight.hear(0, answer(1, 7));
        assert_eq!(sight.hear(0, answer(2, 0)), node(2));
    }

    #[tokio::test]
    async fn the_sockets_to_the_old_master_go_down_with_the_news() {
        let sight = Sight::new(1, Role::Master);
        sight.hear(0, answer(1, 1));
        let (old, old_probe, _old_peer) = socket().await;
        let capacity = Capacity::new(7);
        sight
            .tie(&node(1), old_probe, Some(capacity.clone()))
            .unwrap();
        let late = socket().await;

        sight.hear(0, answer(2, 2));
        assert_eq!(old.liveness(), pool_tcp::Liveness::Dropped);
        assert!(capacity.is_draining());
        assert_eq!(sight.tie(&node(1), late.1, None), Err(node(2)));

        let (new, new_probe, _new_peer) = socket().await;
        sight.tie(&node(2), new_probe, None).unwrap();
        sight.hear(0, answer(2, 2));
        assert_eq!(new.liveness(), pool_tcp::Liveness::Alive);
    }

    #[tokio::test]
    async fn of_those_that_want_a_replica_only_the_new_masters_sockets_go_down() {
        let sight = Sight::new(1, Role::Replica);
        sight.hear(0, answer(1, 1));
        let (two, three) = (socket().await, socket().await);
        sight.tie(&node(2), two.1, None).unwrap();
        sight.tie(&node(3), three.1, None).unwrap();
        sight.hear(0, answer(2, 2));
        assert_eq!(two.0.liveness(), pool_tcp::Liveness::Dropped);
        assert_eq!(three.0.liveness(), pool_tcp::Liveness::Alive);
    }

    #[tokio::test]
    async fn sockets_that_were_closed_are_forgotten() {
        let sight = Sight::new(1, Role::Master);
        for _ in 0..5 {
            let (stream, probe, _peer) = socket().await;
            sight.tie(&node(1), probe, None).unwrap();
            drop(stream);
        }
        assert_eq!(sight.lock().ties.len(), 1);
    }

    #[test]
    fn whoever_waits_for_a_move_is_told_of_one_and_of_one_that_was_before() {
        let sight = Sight::new(1, Role::Master);
        sight.hear(0, answer(1, 1));
        let (here, gone) = (node(1), node(9));
        let mut moved = pin!(sight.moved(&here));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(moved.as_mut().poll(cx).is_pending());
        assert_eq!(pin!(sight.moved(&gone)).poll(cx), Poll::Ready(node(1)));
        sight.hear(0, answer(2, 2));
        assert_eq!(moved.poll(cx), Poll::Ready(node(2)));
    }
}
