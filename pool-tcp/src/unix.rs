//! Connections to a Unix-domain socket.

use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};

use pool_core::{Dropped, Manager, Recycle};
use tokio::net::UnixStream;

use crate::connection::{Connection, Judge};
use crate::error::UnixError;
use crate::probe::OnReadable;
use crate::stream::PoolStream;

/// A pooled connection to a Unix-domain socket.
pub type UnixConnection = Connection<PoolStream<UnixStream>>;

/// Dials the path of a Unix-domain socket, and lets go of a connection when its peer does.
///
/// # Examples
///
/// ```
/// use pool_core::Manager;
/// use pool_tcp::UnixManager;
/// use tokio::net::UnixListener;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let path = std::env::temp_dir().join(format!("pool-tcp-{}.sock", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let manager = UnixManager::new(&path);
/// let mut connection = manager.connect().await?;
/// assert!(!manager.is_dropped(&mut connection));
///
/// drop(listener.accept().await?);
/// assert!(manager.is_dropped(&mut connection));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct UnixManager {
    path: PathBuf,
    judge: Judge<UnixStream>,
}

impl UnixManager {
    /// Dials `path`. Nothing is looked up yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::UnixManager;
    ///
    /// let manager = UnixManager::new("/run/postgresql/.s.PGSQL.5432");
    /// assert!(format!("{manager:?}").contains("PGSQL"));
    /// ```
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            judge: Judge::default(),
        }
    }

    /// Whether the server speaks before it is asked.
    ///
    /// Default: false, and then bytes on a new connection are dirt, as on any idle one. With true, bytes on a connection
    /// that nobody has used yet are its greeting, which its first user reads; a peer that closes is noticed all the same.
    /// A manager of your own may read the greeting in `connect` instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::UnixManager;
    ///
    /// let manager = UnixManager::new("/run/server.sock").server_speaks_first(true);
    /// assert!(format!("{manager:?}").contains("server.sock"));
    /// ```
    #[must_use]
    pub fn server_speaks_first(mut self, speaks_first: bool) -> Self {
        self.judge.speaks_first = speaks_first;
        self
    }

    /// Whether users only send, and expect no answer.
    ///
    /// Default: false, and then a connection whose user wrote and went without having read anything since is closed: the
    /// answer that may still come would be the next user's.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::UnixManager;
    ///
    /// let manager = UnixManager::new("/run/server.sock").one_way(true);
    /// assert!(format!("{manager:?}").contains("server.sock"));
    /// ```
    #[must_use]
    pub fn one_way(mut self, one_way: bool) -> Self {
        self.judge.one_way = one_way;
        self
    }

    /// What unread bytes on an idle connection mean, see [`TcpManager::on_readable`](crate::TcpManager::on_readable).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::{OnReadable, UnixManager};
    ///
    /// let manager = UnixManager::new("/run/server.sock").on_readable(OnReadable::Ignore);
    /// assert!(format!("{manager:?}").contains("Ignore"));
    /// ```
    #[must_use]
    pub fn on_readable(mut self, on_readable: OnReadable) -> Self {
        self.judge.on_readable = on_readable;
        self
    }

    /// Lets `reader` look at bytes that came unasked, see [`TcpManager::recheck`](crate::TcpManager::recheck).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tcp::UnixManager;
    ///
    /// let manager = UnixManager::new("/run/server.sock")
    ///     .recheck(|connection| connection.get_mut().try_read_now(&mut [0; 64]).is_ok());
    /// assert!(format!("{manager:?}").contains("Recheck"));
    /// ```
    #[must_use]
    pub fn recheck(
        mut self,
        reader: impl Fn(&mut UnixConnection) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.judge.recheck(reader);
        self
    }
}

impl Manager for UnixManager {
    type Connection = UnixConnection;
    type Error = UnixError;

    async fn connect(&self) -> Result<UnixConnection, UnixError> {
        match UnixStream::connect(&self.path).await {
            Ok(socket) => Ok(Connection::new(PoolStream::new(socket))),
            Err(source) => Err(UnixError {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn is_dropped(&self, connection: &mut UnixConnection) -> bool {
        self.judge.dropped(connection).is_some()
    }

    fn poll_dropped(&self, connection: &mut UnixConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.judge.poll_dropped(connection, cx)
    }

    fn recycle(&self, connection: &mut UnixConnection) -> Recycle {
        connection.recycle(self.judge.one_way)
    }

    /// A path that no socket can have, such as one that is too long.
    fn is_permanent(&self, error: &UnixError) -> bool {
        error.source.kind() == io::ErrorKind::InvalidInput
    }
}
