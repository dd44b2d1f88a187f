//! A peer of HTTP/2 that does what a test tells it to.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Taken = (Request<h2::RecvStream>, SendResponse<Bytes>);

pub(crate) struct Listener {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Peer {
    pub(crate) connection: Connection<TcpStream, Bytes>,
}

impl Listener {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with(&Builder::new()).await
    }

    pub(crate) async fn accept_with(&self, builder: &Builder) -> Peer {
        let socket = self.accept_socket().await;
        let connection = builder.handshake(socket).await.unwrap();
        Peer { connection }
    }

    /// One that does not say a word.
    pub(crate) async fn accept_socket(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

impl Peer {
    /// The next request.
    pub(crate) async fn request(&mut self) -> Taken {
        self.connection
            .accept()
            .await
            .expect("it is open")
            .expect("it is in order")
    }

    /// The next requests. Whoever drops them resets their streams.
    pub(crate) async fn requests(&mut self, count: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(self.request().await);
        }
        taken
    }

    /// Drops the connection before its streams, so that nothing is said of them.
    pub(crate) fn vanish(self, taken: Vec<Taken>) {
        drop(self.connection);
        drop(taken);
    }

    /// Goes on until the client is gone; requests that come meanwhile are answered.
    pub(crate) async fn serve(mut self) {
        while let Some(Ok((_, mut respond))) = self.connection.accept().await {
            answer(&mut respond, "served");
        }
    }
}

pub(crate) fn answer(respond: &mut SendResponse<Bytes>, body: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream
        .send_data(Bytes::from_static(body.as_bytes()), true)
        .unwrap();
}
