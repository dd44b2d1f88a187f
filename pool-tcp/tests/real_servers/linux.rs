//! The servers and what is asked of a pool on them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pool_core::{Order, Pool};
use pool_tcp::TcpManager;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{CLOSE_WAIT, LIMIT, eventually, open_sockets_to};

/// A server of this test's own on a free port, with a folder that goes with it.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    /// `None` if it is not installed.
    async fn start(name: &str, arguments: fn(u16, &Path) -> Vec<String>) -> Option<Self> {
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{port}"));
            fs::create_dir_all(&folder).unwrap();
            let arguments = arguments(port, &folder);
            // Where Debian puts servers, which is not on every user's path.
            let places = ["", "/usr/sbin/", "/usr/local/sbin/"];
            let child = places.iter().find_map(|place| {
                let mut command = Command::new(format!("{place}{name}"));
                command
                    .args(&arguments)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()
            });
            let Some(child) = child else {
                let _ = fs::remove_dir_all(&folder);
                return None;
            };
            let mut server = Self {
                child,
                port,
                folder,
            };
            if server.listens().await {
                return Some(server);
            }
            // Somebody else took the port meanwhile.
        }
        panic!("{name} is installed but does not start");
    }

    async fn listens(&mut self) -> bool {
        for _ in 0..LIMIT.as_millis() / 10 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx takes its workers along when it is asked, not when it is killed.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn redis(port: u16, folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    [
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--timeout",
        "1",
        "--dir",
        &folder,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn nginx(port: u16, folder: &Path) -> Vec<String> {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/errors;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}keepalive_timeout 1s;\n\
         server {{\nlisten 127.0.0.1:{port};\nlocation / {{ return 200 'hello'; }}\n}}\n}}\n"
    );
    let file = format!("{folder}/nginx.conf");
    fs::write(&file, configuration).unwrap();
    vec![
        "-p".into(),
        folder.to_string(),
        "-c".into(),
        file,
        "-e".into(),
        format!("{folder}/errors"),
    ]
}

/// A burst of users, then silence: the server hangs up on all of them, and so do we, without any traffic; and whoever
/// comes then is served.
async fn outlives_idle_closes(server: &Server, order: Order, request: &[u8], answer_ends: &[u8]) {
    const BURST: usize = 20;
    let manager = TcpManager::new(&format!("127.0.0.1:{}", server.port)).unwrap();
    let pool = Pool::builder(manager)
        .max_size(BURST)
        .order(order)
        .build()
        .unwrap();
    let ask = async || {
        let mut connection = pool.checkout().await.unwrap();
        connection.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(answer_ends) {
            assert_ne!(
                connection.read_buf(&mut answer).await.unwrap(),
                0,
                "handed out dead"
            );
        }
        // Others want one too.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut burst = Vec::new();
    for _ in 0..BURST {
        burst.push(Box::pin(ask()));
    }
    for user in burst.iter_mut() {
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(user.as_mut().poll(cx))).await;
    }
    for user in burst {
        user.await;
    }
    let open = pool.status().idle;
    assert!(open > 1, "a burst needs more than one connection");

    // Both servers look about once a second; half a minute is more than ten times what that takes.
    for _ in 0..3_000 {
        if pool.status().idle == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(pool.status().size(), 0, "of {open} connections");
    assert!(!open_sockets_to(server.port).contains(&CLOSE_WAIT));
    ask().await;
    drop(pool);
    eventually(|| open_sockets_to(server.port).len(), 0).await;
}

#[tokio::main]
pub(crate) async fn run() {
    let get = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let (mut passed, mut skipped) = (0, 0);
    for (name, arguments, request, answer_ends) in [
        (
            "redis-server",
            redis as fn(u16, &Path) -> Vec<String>,
            &b"PING\r\n"[..],
            &b"+PONG\r\n"[..],
        ),
        ("nginx", nginx, get, b"hello"),
    ] {
        for order in [Order::Lifo, Order::Fifo] {
            match Server::start(name, arguments).await {
                Some(server) => {
                    outlives_idle_closes(&server, order, request, answer_ends).await;
                    println!(
                        "test a pool on a real {name} outlives its idle closes, {order:?} ... ok"
                    );
                    passed += 1;
                }
                None => {
                    println!(
                        "test a pool on a real {name} ... skipped: {name} is not installed (.ci/test installs it)"
                    );
                    skipped += 1;
                }
            }
        }
    }
    println!("\nreal servers: {passed} passed, 0 failed, {skipped} skipped");
}
