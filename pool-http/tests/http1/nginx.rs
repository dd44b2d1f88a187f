//! A real nginx that closes what is idle for a second, and every connection after a hundred requests.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, process};

use futures::future::join_all;
use http::Request;
use pool_core::Order;
use pool_http::Client;
use tokio::time::{sleep, timeout};

use crate::support::ask::{builder, read, size};
use crate::support::{arrives, becomes, in_time, sockets};

struct Nginx {
    address: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Nginx {
    /// Nothing, if it is not installed.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let address = port.unwrap();
        let folder =
            std::env::temp_dir().join(format!("nginx-{}-{}", process::id(), address.port()));
        fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/errors;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}keepalive_timeout 1s;\nkeepalive_requests 100;\n\
             server {{\nlisten {address};\nlocation / {{ return 200 'hello'; }}\n}}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let child = Command::new("nginx")
            .args(["-e", &format!("{at}/errors"), "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.ok()?;
        let nginx = Self {
            address,
            folder,
            child,
        };
        arrives(|| TcpStream::connect(address).is_ok());
        Some(nginx)
    }

    fn sockets(&self) -> Vec<sockets::Socket> {
        let ours = sockets::ours().into_iter();
        ours.filter(|socket| socket.remote == self.address.port())
            .collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has no workers that would outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn get(client: &Client, nginx: &Nginx) {
    let request = Request::get(format!("http://{}/", nginx.address));
    let response = client.request(request.body(String::new()).unwrap());
    let response = in_time(response).await.unwrap();
    assert_eq!(read(response).await.unwrap().1, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nginx_loses_no_get() {
    let Some(nginx) = Nginx::start() else {
        println!("skipped: nginx is not installed");
        return;
    };
    for order in [Order::Lifo, Order::Fifo] {
        let client = builder().pool(move |pool| pool.each(move |_, pool| pool.order(order)));
        let client = client.build().unwrap();
        let users = (0..12_u64).map(|number| {
            let (client, nginx) = (&client, &nginx);
            async move {
                loop {
                    for _ in 0..50 {
                        get(client, nginx).await;
                    }
                    // Until nginx is about to close.
                    sleep(Duration::from_millis(990 + number)).await;
                }
            }
        });
        let _ = timeout(Duration::from_secs(4), join_all(users)).await;
        becomes(|| size(&client), 0).await;
        assert_eq!(nginx.sockets().len(), 0);
    }
}
