//! The rules: what a manager promises, why, and what to do where it does not.

use std::fmt;

/// One promise that the pool relies on. In the order in which they are checked.
///
/// # Examples
///
/// ```
/// use pool_core::testkit::conformance::Rule;
///
/// assert_eq!(Rule::CloseCloses.to_string(), "`close` ends when the connection is closed, and given up it closes too");
/// assert!(Rule::CloseCloses.remedy().starts_with("let `close` wait"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// After `connect`, the server sees one connection more.
    ///
    /// Whoever is handed a connection wants to use it, within the deadline he gave; one that dials at its first use
    /// fails him after the pool has said that all is well. And without a server that counts, no other rule can be
    /// checked.
    ConnectConnects,
    /// `is_dropped` says false and `poll_dropped` pending of a new connection, for a while.
    ///
    /// A pool whose every connection is born dead dials for ever. Greetings and session tickets that come a little
    /// later than the connection are what leads to it.
    FreshIsAlive,
    /// Asked a thousand times, `is_dropped` leaves the connection as it was.
    ///
    /// It is asked before every checkout and after every use. A look that reads takes a byte of somebody's answer; one
    /// that waits holds up every caller.
    LookingChangesNothing,
    /// Of the wakers that `poll_dropped` was given, the latest is woken when the server hangs up.
    ///
    /// This alone tells a pool without traffic that a connection is dead. A waker that is not registered, or an older
    /// one that is kept instead, leaves the socket in CLOSE_WAIT for as long as nobody looks.
    HangUpWakes,
    /// While nothing happens, `poll_dropped` wakes nobody.
    ///
    /// The pool looks again whenever it is woken. A connection that wakes it without reason costs a whole processor.
    NothingWakesNobody,
    /// After the server hung up `is_dropped` says so, and goes on to say so.
    ///
    /// A connection is looked at several times before it is closed. An end that is noticed once and forgotten, as a
    /// socket's error is once it was read, hands out a dead connection.
    DeadStaysDead,
    /// `is_dropped` knows of a hang-up before the runtime's reactor has run.
    ///
    /// Checked if [`Subject::exact`](super::Subject::exact) asks for it. A busy task may check a connection out before
    /// the reactor had a turn; the kernel has known for long that it is dead.
    KernelIsAsked,
    /// Bytes that nobody asked for make a connection unfit.
    ///
    /// They would be the answer to the next user's first question, and every later one would be off by one.
    UnaskedBytesAreNoticed,
    /// What the probe says does not depend on the budget of the task that asks.
    ///
    /// After some operations tokio has a task's I/O say pending, whatever there is, until the task yields. A probe that
    /// polls a read once (`now_or_never`) takes that for "alive"; and a watch that polls with another waker than the
    /// one it was given is never told to look again.
    BudgetIsNoExcuse,
    /// A dial that is dropped at any await point leaves no connection behind.
    ///
    /// The pool drops dials after `connect_timeout` and when it closes, and gives their slots to others. A connection
    /// that survives is one more than `max_size`, and nobody will ever close it.
    CancelledDialLeavesNothing,
    /// A dial to a server that does not answer waits without blocking its thread or fails, and leaves nothing behind.
    ///
    /// That is what an outage looks like. Whoever blocks stops the whole runtime; whoever leaves sockets behind fills the
    /// server's queue with connections that are closed before it gets to them.
    SilenceIsBorne,
    /// When `close` is over the socket is closed, with no help from any other task; given up half way, it is closed too.
    ///
    /// The slot is given to the next dial as soon as `close` is over. If a task of the driver still holds the socket
    /// then, the server sees more connections than `max_size`.
    CloseCloses,
    /// A connection that is merely dropped is closed.
    ///
    /// That is what happens to it in a panic, at the end of a runtime, and to a dial that is given up when it had just
    /// succeeded.
    DropCloses,
    /// `recycle` keeps a connection that was used properly, or `reset` makes it fit again.
    ///
    /// A pool that keeps nothing is a slow way to dial.
    OrderIsKept,
    /// `recycle` does not keep a connection whose user left in the middle of a request, unless the next user gets the
    /// right answer all the same.
    ///
    /// A caller who is cancelled leaves an answer behind that is still on its way. No probe can see it; only the
    /// connection knows that somebody had asked.
    AbandonedIsNotKept,
    /// In a pool without traffic, all idle connections are closed soon after the server hung up on them, and the pool
    /// serves again.
    PoolEvicts,
    /// Under a hundred tasks that return and discard connections, the server never sees more than `max_size`.
    ///
    /// Counted whenever a dial begins.
    MaxSizeHolds,
    /// Once a pool and its guards are gone, the server sees none of their connections.
    DroppedPoolLeavesNothing,
    /// No method has panicked in any of these checks.
    ///
    /// The pool survives it, at the price of the connection. But whoever is in the middle of a checkout gets the panic.
    NothingPanics,
}

impl Rule {
    /// All rules.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_core::testkit::conformance::Rule;
    ///
    /// assert_eq!(Rule::ALL.last(), Some(&Rule::NothingPanics));
    /// ```
    pub const ALL: [Self; 19] = [
        Self::ConnectConnects,
        Self::FreshIsAlive,
        Self::LookingChangesNothing,
        Self::HangUpWakes,
        Self::NothingWakesNobody,
        Self::DeadStaysDead,
        Self::KernelIsAsked,
        Self::UnaskedBytesAreNoticed,
        Self::BudgetIsNoExcuse,
        Self::CancelledDialLeavesNothing,
        Self::SilenceIsBorne,
        Self::CloseCloses,
        Self::DropCloses,
        Self::OrderIsKept,
        Self::AbandonedIsNotKept,
        Self::PoolEvicts,
        Self::MaxSizeHolds,
        Self::DroppedPoolLeavesNothing,
        Self::NothingPanics,
    ];

    /// What to do where the rule is broken.
    ///
    /// # Examples
    ///
    /// See [`Rule`].
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.texts().1
    }

    /// The rule as a sentence that is true, and the remedy where it is not.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::ConnectConnects => (
                "the server sees the connection that `connect` brings",
                "dial in `connect`, not at the first use; and let `Server::open` count a connection from its accept on",
            ),
            Self::FreshIsAlive => (
                "a new connection is not reported dropped",
                "say false, or pending, while there is no end and nothing to read; what a server sends by itself at the \
                 beginning is to be read by `connect` or understood by the probe",
            ),
            Self::LookingChangesNothing => (
                "a look at a connection does not change it",
                "neither read, write, wait nor count in `is_dropped`: ask poll(2), peek, or take a read that meets \
                 WouldBlock",
            ),
            Self::HangUpWakes => (
                "whoever watches an idle connection is woken when the server hangs up",
                "return pending only after the waker of this poll is registered with what will call it; check a manager \
                 that nothing can wake as `Subject::unwatched`",
            ),
            Self::NothingWakesNobody => (
                "whoever watches an idle connection sleeps while nothing happens",
                "do not wake the waker yourself; a runtime's readiness stays set until a read meets WouldBlock, so look \
                 again in a loop until it is pending by itself",
            ),
            Self::DeadStaysDead => (
                "a connection that the server hung up on is dropped, and stays so",
                "ask the socket anew each time, or remember its end once it was seen",
            ),
            Self::KernelIsAsked => (
                "the probe knows of a hang-up before the reactor has run",
                "ask the kernel, by poll(2) or a peek, and not the readiness that the runtime remembers",
            ),
            Self::UnaskedBytesAreNoticed => (
                "bytes that nobody asked for make a connection unfit",
                "take a readable idle connection for dropped; where the protocol lets the server speak unasked, let \
                 `Server::speak` say false",
            ),
            Self::BudgetIsNoExcuse => (
                "the probe tells the truth to a task whose budget is spent",
                "poll no future once for an answer: use `try_read`, a system call, or `tokio::task::unconstrained`; and \
                 hand the waker of `poll_dropped` on to whatever it polls",
            ),
            Self::CancelledDialLeavesNothing => (
                "a dial that is dropped half way leaves nothing behind",
                "let the future of `connect` own the socket at every await: no task, channel or static may keep it",
            ),
            Self::SilenceIsBorne => (
                "a dial to a server that does not answer waits or fails, and leaves nothing behind",
                "await the handshake, never block in it, and let the future of `connect` own the socket meanwhile",
            ),
            Self::CloseCloses => (
                "`close` ends when the connection is closed, and given up it closes too",
                "let `close` wait for whoever holds the socket, such as the task of a driver, and own the connection until \
                 then",
            ),
            Self::DropCloses => (
                "a connection that is dropped is closed",
                "let nothing but the connection keep the socket open; a task that drives it is to end when it is dropped",
            ),
            Self::OrderIsKept => (
                "a connection that was used properly is kept, and works again",
                "let `recycle` keep what its user left in order, the probe call it alive and `idle_limit` let it live",
            ),
            Self::AbandonedIsNotKept => (
                "a connection whose request was left half way is not kept",
                "mark the connection before a request is sent, clear the mark when its answer was read, and let `recycle` \
                 discard what is marked",
            ),
            Self::PoolEvicts => (
                "without traffic, a pool closes what the server hung up on, and serves again",
                "keep a waker for each connection, not one for the manager; and end in `close` whatever the connection is",
            ),
            Self::MaxSizeHolds => (
                "a pool's server never sees more connections than `max_size`",
                "let `close` wait until the socket is closed, and let a dial that fails close what it opened before it \
                 says so",
            ),
            Self::DroppedPoolLeavesNothing => (
                "a pool that is gone leaves no connection behind",
                "let neither the manager nor a task or static hold a connection beside the pool",
            ),
            Self::NothingPanics => (
                "no method panics",
                "return an error, say dropped, or discard: the network can cause anything",
            ),
        }
    }
}

/// The rule, as a sentence that is true.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts().0)
    }
}
