//! A server that hangs up on what has been idle for a while, and remembers which requests it was sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Runs in a thread of its own, for as long as the process.
pub(crate) struct ClosingServer {
    pub(crate) address: SocketAddr,
    /// How often each request line came.
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl ClosingServer {
    pub(crate) fn start(idle: Duration) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let taken = Arc::default();
        let seen = Arc::clone(&taken);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("in a runtime");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    tokio::spawn(serve(stream, idle, Arc::clone(&seen)));
                }
            });
        });
        Self { address, taken }
    }

    /// Requests that came more than once.
    pub(crate) fn taken_twice(&self) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().filter(|times| **times > 1).count()
    }
}

/// None of the requests has a body.
async fn serve(
    mut stream: TcpStream,
    idle: Duration,
    taken: Arc<Mutex<HashMap<String, usize>>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut heard = Vec::new();
    // Who has just connected has all the time he needs.
    let mut patience = Duration::MAX;
    while let Ok(read) = timeout(patience, stream.read_buf(&mut heard)).await {
        if read? == 0 {
            break;
        }
        patience = idle;
        if !heard.ends_with(b"\r\n\r\n") {
            continue;
        }
        let line: Vec<u8> = heard
            .iter()
            .copied()
            .take_while(|byte| *byte != b'\r')
            .collect();
        let line = String::from_utf8_lossy(&line).into_owned();
        heard.clear();
        *taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(line)
            .or_default() += 1;
        stream.write_all(RESPONSE).await?;
    }
    Ok(())
}
