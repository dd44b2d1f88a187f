//! A real nginx with HTTP/2 over TLS that closes idle connections after a second, and any after a hundred requests.

mod support_h2;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::try_join_all;
use http::Version;
use pool_http::RequestError;
use support_h2::certificate::Certificate;
use support_h2::{becomes, client, fetch, get, in_time};

struct Nginx {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Nginx {
    /// None if there is none on this machine.
    fn start(certificate: &Certificate) -> Option<Self> {
        let binary = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())?;
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder =
            std::env::temp_dir().join(format!("pool-http-nginx-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("certificate.pem"), &certificate.pem).unwrap();
        std::fs::write(folder.join("key.pem"), &certificate.key_pem).unwrap();
        let at = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 512; }}
             http {{
               access_log off;
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
               uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
               keepalive_timeout 1; keepalive_requests 100; http2_max_concurrent_streams 32;
               server {{
                 listen 127.0.0.1:{port} ssl http2;
                 ssl_certificate {at}/certificate.pem; ssl_certificate_key {at}/key.pem;
                 location / {{ return 200 here; }}
               }}
             }}"
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let child = Command::new(binary)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("https://localhost:{port}/");
        let nginx = Self { child, folder, url };
        let listens = (0..2000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(listens, "nginx does not listen");
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_is_lost_to_a_real_nginx() {
    let certificate = Certificate::of("localhost");
    let Some(nginx) = Nginx::start(&certificate) else {
        eprintln!("skipped: there is no nginx");
        return;
    };
    let client = client().tls(certificate.client()).build().unwrap();
    // It says GOAWAY after every hundredth request.
    let callers = (0..40).map(|_| async {
        let mut replays = 0;
        for _ in 0..50 {
            let answer = fetch(&client, get(&nginx.url)).await?;
            assert_eq!(
                (&*answer.body, answer.served.version),
                (&b"here"[..], Version::HTTP_2)
            );
            replays += answer.served.replays;
        }
        Ok::<_, RequestError>(replays)
    });
    let replays: u32 = in_time(try_join_all(callers))
        .await
        .unwrap()
        .into_iter()
        .sum();
    println!("2,000 GETs by 40 callers, {replays} of them sent again");

    // It closes after a second; the client asks in that moment.
    for round in 0..8 {
        tokio::time::sleep(Duration::from_millis(985 + 5 * round)).await;
        in_time(fetch(&client, get(&nginx.url))).await.unwrap();
    }
    becomes(|| client.pool().status().size(), 0).await;
}
