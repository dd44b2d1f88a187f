//! A peer of HTTP/2 that writes frame by frame what no library would (RFC 9113 §4.1).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) struct Frames(TcpStream);

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
}

impl Frames {
    /// Reads the preface, and says nothing yet.
    pub(crate) async fn open(mut socket: TcpStream) -> Self {
        let mut preface = [0; 24];
        socket.read_exact(&mut preface).await.unwrap();
        assert!(preface.starts_with(b"PRI * HTTP/2.0"));
        Self(socket)
    }

    pub(crate) async fn next(&mut self) -> Frame {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        Frame {
            kind: head[3],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        }
    }

    /// The stream of the next request.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            let frame = self.next().await;
            if frame.kind == HEADERS {
                return frame.stream;
            }
        }
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn allow(&mut self, streams: u32) {
        let mut setting = vec![0, 3];
        setting.extend(streams.to_be_bytes());
        self.send(SETTINGS, 0, 0, &setting).await;
    }

    pub(crate) async fn go_away(&mut self, last_stream: u32, reason: u32) {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend(reason.to_be_bytes());
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// `:status: 204`, by its number in the static table of HPACK (RFC 7541).
    pub(crate) async fn answer(&mut self, stream: u32) {
        self.send(HEADERS, 0x4 | 0x1, stream, &[0x89]).await;
    }
}
