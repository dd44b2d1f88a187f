//! A hyper server that counts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;

type Answering = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// What a server is like.
pub(crate) struct Recipe {
    /// With TLS, and what it offers; without, HTTP/2 or not is decided by `is_http2`.
    pub(crate) tls: Option<(Arc<Certificate>, Vec<&'static str>)>,
    pub(crate) is_http2: bool,
    pub(crate) max_streams: Option<u32>,
    pub(crate) handler: Handler,
}

impl Recipe {
    /// HTTP/2 without TLS that answers with `handler`.
    pub(crate) fn new<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self {
            tls: None,
            is_http2: true,
            max_streams: None,
            handler: Arc::new(move |request| Box::pin(handler(request))),
        }
    }

    /// Answers with the path at once.
    pub(crate) fn echo() -> Self {
        Self::new(|request| async move { answer(request.uri().path().to_owned()) })
    }

    pub(crate) fn http1(mut self) -> Self {
        self.is_http2 = false;
        self
    }

    pub(crate) fn max_streams(mut self, max_streams: u32) -> Self {
        self.max_streams = Some(max_streams);
        self
    }

    pub(crate) fn tls(
        mut self,
        certificate: &Arc<Certificate>,
        protocols: &[&'static str],
    ) -> Self {
        self.tls = Some((Arc::clone(certificate), protocols.to_vec()));
        self
    }

    pub(crate) async fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.start_on(listener)
    }

    pub(crate) fn start_on(self, listener: TcpListener) -> Server {
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let (goodbye, _) = watch::channel(false);
        let url = match &self.tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let server = Server {
            address,
            url,
            counts: Arc::clone(&counts),
            goodbye: goodbye.clone(),
            tasks: Arc::default(),
        };
        let (tasks, recipe) = (Arc::clone(&server.tasks), Arc::new(self));
        server.tasks.lock().unwrap().spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let recipe = Arc::clone(&recipe);
                let counted = Counted::new(&counts);
                let goodbye = goodbye.subscribe();
                tasks.lock().unwrap().spawn(async move {
                    let _counted = counted;
                    match &recipe.tls {
                        None => recipe.serve(socket, recipe.is_http2, goodbye).await,
                        Some((certificate, protocols)) => {
                            let acceptor = TlsAcceptor::from(certificate.server(protocols));
                            let Ok(stream) = acceptor.accept(socket).await else {
                                return;
                            };
                            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            recipe.serve(stream, is_http2, goodbye).await;
                        }
                    }
                });
            }
        });
        server
    }

    async fn serve<S>(&self, stream: S, is_http2: bool, mut goodbye: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handler = Arc::clone(&self.handler);
        let service = service_fn(move |request| {
            let answering = handler(request);
            async { Ok::<_, Infallible>(answering.await) }
        });
        // Errors are the client's affair.
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(self.max_streams);
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = goodbye.changed() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        } else {
            let builder = http1::Builder::new();
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Without a path.
    pub(crate) url: String,
    counts: Arc<Counts>,
    goodbye: watch::Sender<bool>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Server {
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections now.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    pub(crate) fn most_open(&self) -> usize {
        self.counts.most_open.load(Ordering::SeqCst)
    }

    /// Says GOAWAY on all connections that are open, and answers what it has taken.
    pub(crate) fn say_goodbye(&self) {
        self.goodbye.send_replace(true);
    }

    /// Closes everything, whatever is under way.
    pub(crate) fn kill(&self) {
        self.tasks.lock().unwrap().abort_all();
    }
}

struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_open.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn answer(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}
