//! A server that closes connections while they are idle, in one way or another, and counts what it has taken.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use pool_http::{ClientBuilder, Http2};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::client;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// None is said.
    Silent,
    /// By close_notify under TLS, by GOAWAY in HTTP/2: what comes after it is not taken.
    Final,
    /// Of HTTP/2: what comes before the client has heard of it is taken (RFC 9113 §6.8).
    Graceful,
}

/// What the server is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) is_tls: bool,
    pub(crate) is_http2: bool,
    pub(crate) goodbye: Goodbye,
    /// After so long an idle connection is closed; if nothing is said, when the server is told to.
    pub(crate) patience: Option<Duration>,
}

pub(crate) struct ClosingServer {
    /// Without a path.
    pub(crate) url: String,
    pub(crate) port: u16,
    /// Trusts it, and speaks as it does.
    certificate: Certificate,
    recipe: Recipe,
    taken: Arc<Mutex<HashMap<String, usize>>>,
    told: watch::Sender<()>,
}

#[derive(Clone)]
struct Serving {
    recipe: Recipe,
    tls: TlsAcceptor,
    taken: Arc<Mutex<HashMap<String, usize>>>,
    told: watch::Receiver<()>,
}

impl ClosingServer {
    /// Has a thread of its own, so that a busy client does not stop it, for as long as the process.
    pub(crate) fn start(recipe: Recipe) -> Self {
        let certificate = Certificate::of("localhost");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let alpn = if recipe.is_http2 { "h2" } else { "http/1.1" };
        let scheme = if recipe.is_tls { "https" } else { "http" };
        let (told, hears) = watch::channel(());
        let serving = Serving {
            recipe,
            tls: TlsAcceptor::from(certificate.server(&[alpn])),
            taken: Arc::default(),
            told: hears,
        };
        let taken = Arc::clone(&serving.taken);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let mut serving = serving.clone();
                    serving.told.mark_unchanged();
                    // Errors are the client's affair.
                    tokio::spawn(async move { drop(serving.serve(socket).await) });
                }
            });
        });
        Self {
            url: format!("{scheme}://localhost:{port}"),
            port,
            certificate,
            recipe,
            taken,
            told,
        }
    }

    pub(crate) fn client(&self) -> ClientBuilder {
        let versions = match self.recipe.is_http2 && !self.recipe.is_tls {
            true => Http2::Always,
            false => Http2::Negotiated,
        };
        client().tls(self.certificate.client()).http2(versions)
    }

    /// Closes all connections there are, if that is not a matter of patience.
    pub(crate) fn close_all(&self) {
        self.told.send_replace(());
    }

    /// The most often that one path was asked for, and how many different ones were.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let taken = self.taken.lock().unwrap();
        (taken.values().copied().max().unwrap_or(0), taken.len())
    }
}

impl Serving {
    async fn serve(self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        // Another handle on it, to be open for a little longer.
        let socket = socket.into_std()?;
        let rest = TcpStream::from_std(socket.try_clone()?)?;
        let socket = TcpStream::from_std(socket)?;
        match self.recipe.is_tls {
            true => {
                let stream = self.tls.accept(socket).await?;
                self.speak(stream, rest).await
            }
            false => self.speak(socket, rest).await,
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        rest: TcpStream,
    ) -> io::Result<()> {
        match self.recipe.is_http2 {
            true => {
                self.speak_http2(stream).await.map_err(io::Error::other)?;
                linger(rest).await
            }
            false => {
                drop(rest);
                self.speak_http1(stream).await
            }
        }
    }

    /// What is on its way at the end is lost.
    async fn speak_http1<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
    ) -> io::Result<()> {
        let (mut heard, mut is_idle) = (Vec::new(), false);
        loop {
            let read = tokio::select! {
                biased;
                read = stream.read_buf(&mut heard) => read?,
                // For the first request it waits, as servers do.
                () = self.idled(), if is_idle => break,
            };
            if read == 0 {
                break;
            }
            if heard.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(std::mem::take(&mut heard)).unwrap();
                self.take(head.split(' ').nth(1).unwrap());
                let response = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere";
                stream.write_all(response.as_bytes()).await?;
                is_idle = true;
            }
        }
        match self.recipe.goodbye {
            Goodbye::Silent => Ok(()),
            Goodbye::Final | Goodbye::Graceful => stream.shutdown().await,
        }
    }

    async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(), h2::Error> {
        let mut connection = h2::server::handshake(stream).await?;
        let mut is_idle = false;
        loop {
            let taken = tokio::select! {
                biased;
                taken = connection.accept() => taken,
                () = self.idled(), if is_idle => {
                    match self.recipe.goodbye {
                        Goodbye::Silent => return Ok(()),
                        Goodbye::Final => {
                            connection.abrupt_shutdown(Reason::NO_ERROR);
                            return poll_fn(|cx| connection.poll_closed(cx)).await;
                        }
                        Goodbye::Graceful => connection.graceful_shutdown(),
                    }
                    is_idle = false;
                    continue;
                }
            };
            let Some((request, mut respond)) = taken.transpose()? else {
                return Ok(());
            };
            self.take(request.uri().path());
            let mut body = respond.send_response(http::Response::new(()), false)?;
            body.send_data(Bytes::from_static(b"here"), true)?;
            is_idle = true;
        }
    }

    /// It is time to close what is idle.
    async fn idled(&self) {
        match self.recipe.patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => {
                let mut told = self.told.clone();
                let _ = pin!(told.changed()).await;
            }
        }
    }

    fn take(&self, path: &str) {
        let mut taken = self.taken.lock().unwrap();
        *taken.entry(path.to_owned()).or_default() += 1;
    }
}

/// Reads on until the client has closed: to close with something unread is to reset, and the goodbye might be lost.
async fn linger(mut socket: TcpStream) -> io::Result<()> {
    socket.shutdown().await?;
    let mut rest = [0; 4096];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}
