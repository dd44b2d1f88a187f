//! The lab as a user runs it. What is asserted of times is ten times as loose as what the lab itself expects, for
//! machines that are busy with other tests.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use yardstick::redis_server::{RedisServer, ask};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .output()
        .expect("the lab was built")
}

/// A folder of this test's own, which is gone before and after it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }

    fn report(&self) -> Value {
        let text = std::fs::read_to_string(self.0.join("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn policy<'a>(report: &'a Value, story: &str, order: &str, policy: &str) -> &'a Value {
    let stories = report["stories"].as_array().expect("a list");
    let story = stories.iter().find(|told| told["name"] == story);
    let policies = story.expect("told")["policies"].as_array().expect("a list");
    policies
        .iter()
        .find(|report| report["order"] == order && report["policy"] == policy)
        .unwrap_or_else(|| panic!("{order} {policy} is missing"))
}

#[cfg(target_os = "linux")]
#[test]
fn a_quick_run_tells_all_five_stories_and_shows_what_the_watcher_is_for() {
    let folder = Folder::new("quick");
    let output = lab(&["--quick", "--out", folder.path()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("report.html"), "{stdout}");
    assert!(stdout.contains(" expectations hold\n"), "{stdout}");
    assert!(stderr.contains("burst-on-a-stack"), "{stderr}");
    assert!(!stderr.contains('\r'), "no terminal, no clock: {stderr}");

    let report = folder.report();
    assert_eq!(report["schema"], 1);
    let names: Vec<_> = report["stories"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|story| story["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "keep-alive",
            "crawler",
            "burst-on-a-stack",
            "slow-acceptor",
            "race"
        ]
    );

    let burst = |order, name| policy(&report, "burst-on-a-stack", order, name);
    for name in ["nothing", "probe"] {
        let left = burst("lifo", name)["close_wait_at_end"].as_u64();
        assert!(left > Some(40), "{name} left {left:?}");
    }
    for name in ["watch", "watch+reap"] {
        let watched = burst("lifo", name);
        assert_eq!(watched["close_wait_at_end"], 0, "{name}");
        assert_eq!(watched["never_closed"], 0, "{name}");
        assert_eq!(watched["dead_handed_out"], 0, "{name}");
        // What the pool says of itself is what the server saw.
        let told = watched["told"]["closed"].as_object().expect("by reason");
        let dropped = told["dropped"].as_u64().expect("a count");
        let closed: u64 = told.values().filter_map(Value::as_u64).sum();
        let fins = watched["fins"].as_u64().expect("a count");
        assert!(
            dropped <= fins && fins <= closed,
            "{name}: {told:?}, {fins}"
        );
        let slowest = watched["fin_to_close_ms"]["max"].as_f64();
        assert!(
            slowest.expect("the server closed") < 1000.0,
            "{name}: {slowest:?}"
        );
        let longest = watched["close_wait_longest_ms"].as_f64();
        assert!(longest.expect("the table") < 1000.0, "{name}: {longest:?}");
        let looks = watched["watch_polls"].as_u64().expect("a count");
        let causes = ["check_ins", "dialled", "fins"].map(|name| watched[name].as_u64());
        let causes: u64 = causes.into_iter().flatten().sum();
        assert!(
            looks <= 2 * causes,
            "{name} scanned: {looks} looks for {causes} causes"
        );
    }
    let open = |order| burst(order, "patient-server")["open_at_end"].as_u64();
    assert!(open("fifo") > open("lifo"), "a queue never shrinks");

    for story in ["keep-alive", "crawler", "race"] {
        assert_eq!(
            policy(&report, story, "lifo", "watch+reap")["dead_handed_out"],
            0,
            "{story}"
        );
    }
    assert!(policy(&report, "keep-alive", "lifo", "nothing")["dead_handed_out"].as_u64() > Some(0));
    assert!(policy(&report, "race", "lifo", "nothing")["requests_lost"].as_u64() > Some(0));
    let sessions = policy(&report, "crawler", "lifo", "probe-per-request");
    assert!(
        sessions["close_wait_at_end"].as_u64() > Some(100),
        "{}",
        sessions["remotes"]
    );
    let slow = |name| policy(&report, "slow-acceptor", "lifo", name)["close_wait_max"].as_u64();
    assert!(slow("redial-backlog-1024") > slow("paced-backlog-1024"));

    let html = std::fs::read_to_string(folder.0.join("report.html")).expect("a report");
    assert!(
        html.contains("<svg") && !html.contains("http"),
        "self-contained"
    );
}

#[test]
fn bad_input_is_named_with_a_remedy_and_exits_with_2() {
    for (arguments, wrong, remedy) in [
        (&["--fast"][..], "--fast", "--help"),
        (&["--story", "rats"], "rats", "race"),
        (
            &["--server", "localhost:80"],
            "localhost:80",
            "tcp://HOST:PORT",
        ),
        (
            &["--server", "tcp://localhost"],
            "the port is missing",
            "tcp://HOST:PORT",
        ),
        (&["--send", "PING"], "--server", "tcp://HOST:PORT"),
        (
            &["--redis", "localhost:6379"],
            "does not begin with redis://",
            "redis://HOST:PORT",
        ),
        (
            &["--redis", "redis://127.0.0.1:1"],
            "redis://127.0.0.1:1",
            "is the server running",
        ),
        (
            &["--redis", "--story", "race"],
            "race",
            "keep-alive and burst-on-a-stack",
        ),
        (
            &["--redis", "--server", "tcp://127.0.0.1:1"],
            "--redis",
            "--help",
        ),
        (&["sockets", "--pid", "x"], "x", "--help"),
        (
            &["--server", "tcp://127.0.0.1:1"],
            "tcp://127.0.0.1:1",
            "is the server running",
        ),
    ] {
        let output = lab(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wrong), "{arguments:?}: {stderr}");
        assert!(stderr.contains(remedy), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_folder_that_cannot_be_created_is_named_before_any_story_is_told() {
    let folder = Folder::new("in-the-way");
    std::fs::write(&folder.0, "a file").expect("writable");
    let below = format!("{}/below", folder.path());
    let output = lab(&["--quick", "--story", "race", "--out", &below]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains(&below) && stderr.contains("--out"),
        "{stderr}"
    );
    assert!(!stderr.contains("policies"), "{stderr}");
    std::fs::remove_file(&folder.0).expect("ours");
}

#[cfg(target_os = "linux")]
#[test]
fn the_sockets_of_a_process_are_counted_by_state_and_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let client = std::net::TcpStream::connect(address).expect("loopback");
    drop(listener.accept().expect("a client"));
    let output = lab(&["sockets", "--pid", &std::process::id().to_string()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    let row = stdout
        .lines()
        .find(|line| line.contains(&format!("to   {address}")));
    let row = row.unwrap_or_else(|| panic!("{address} is missing:\n{stdout}"));
    assert!(
        row.contains("CLOSE_WAIT") && row.trim_end().ends_with('1'),
        "{row}"
    );
    drop(client);

    let output = lab(&["sockets", "--pid", "4194304"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("process 4194304"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn against_a_foreign_server_the_report_says_null_where_only_the_server_knows() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(700)));
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    let folder = Folder::new("foreign");
    let arguments = ["--server", &url, "--idle", "1", "--story", "keep-alive"];
    let output = lab(&[&arguments[..], &["--out", folder.path()]].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = folder.report();
    assert_eq!(report["server"], url);
    let watched = policy(&report, "keep-alive", "lifo", "watch+reap");
    assert!(watched["fin_to_close_ms"].is_null() && watched["never_closed"].is_null());
    assert_eq!(watched["dead_handed_out"], 0);
    let blind = policy(&report, "keep-alive", "lifo", "nothing");
    assert!(blind["close_wait_max"].as_u64() > Some(0));
    assert!(blind["dead_handed_out"].as_u64() > Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_it_cleanly_and_nothing_half_is_written() {
    let folder = Folder::new("interrupted");
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["--story", "race", "--out", folder.path()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the lab was built");
    // Its first line tells that it listens for the signal.
    let mut stderr = std::io::BufReader::new(lab.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).expect("readable");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let interrupt = Command::new("kill")
        .args(["-INT", &lab.id().to_string()])
        .status();
    assert!(interrupt.expect("there is a kill").success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).expect("readable");
    assert_eq!(
        lab.wait().expect("it ends").code(),
        Some(130),
        "{line}{rest}"
    );
    assert!(rest.contains("no report was written"), "{rest}");
    assert!(!rest.contains("lifo"), "rows of half a story: {rest}");
    let mut stdout = String::new();
    let mut table = lab.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut table, &mut stdout).expect("readable");
    assert_eq!(stdout, "", "rows of half a story");
    assert!(!folder.0.exists());
}

/// Says so and returns if no Redis can be had.
fn redis(options: &[&str]) -> Option<RedisServer> {
    match RedisServer::start(options) {
        Ok(server) => Some(server),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {error} (.ci/test installs it)");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_real_redis_the_watcher_leaves_nothing_where_a_probe_leaves_the_whole_stack() {
    if redis(&[]).is_none() {
        return;
    }
    let folder = Folder::new("redis");
    let output = lab(&[
        "--redis",
        "--quick",
        "--story",
        "burst-on-a-stack",
        "--out",
        folder.path(),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report = folder.report();
    let burst = |order, name| policy(&report, "burst-on-a-stack", order, name);
    for name in ["nothing", "probe"] {
        let left = burst("lifo", name)["close_wait_at_end"].as_u64();
        assert!(left > Some(40), "{name} left {left:?}");
    }
    let watched = burst("lifo", "watch+reap");
    assert_eq!(watched["close_wait_at_end"], 0);
    assert_eq!(watched["dead_handed_out"], 0);
    assert!(watched["fins"].is_null(), "only the server knows");
    let longest = watched["close_wait_longest_ms"].as_f64();
    assert!(longest.expect("the table") < 1000.0, "{longest:?}");
    assert!(watched["told"]["evicted"].as_u64() > Some(40));
    let claims = report["claims"].as_array().expect("a list");
    assert!(!claims.is_empty(), "its timeout is known");

    let address = redis_named_in(report["server"].as_str().expect("a server"));
    assert!(TcpStream::connect(address).is_err(), "it outlives the lab");
    let note = report["notes"].as_array().expect("a list").last();
    let note = note.and_then(Value::as_str).expect("a note");
    assert!(
        note.contains("Redis ") && note.contains("timeout 1"),
        "{note}"
    );
}

#[test]
fn a_redis_of_the_users_is_asked_for_its_timeout_and_nothing_is_set_there() {
    let Some(server) = redis(&["--timeout", "1", "--maxclients", "100"]) else {
        return;
    };
    let folder = Folder::new("users-redis");
    let url = server.url();
    let arguments = ["--redis", &url, "--quick", "--story", "keep-alive"];
    let output = lab(&[&arguments[..], &["--out", folder.path()]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("has timeout 1. The lab sets nothing"),
        "{stderr}"
    );
    let report = folder.report();
    assert_eq!(report["server"], url);
    let story = &report["stories"][0]["parameters"];
    assert_eq!(story["server_idle_timeout_ms"], 1000.0);
    // A fourth of its clients for seven policies.
    assert_eq!(story["connections"], 3);
    let watched = policy(&report, "keep-alive", "lifo", "watch+reap");
    assert_eq!(watched["dead_handed_out"], 0);

    let stats = ask(server.address(), &["INFO commandstats"]).expect("it runs");
    let mut commands: Vec<_> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        .collect();
    commands.sort_unstable();
    assert_eq!(commands, ["config|get", "info", "ping", "quit"]);
}

#[cfg(unix)]
#[test]
fn without_a_redis_server_its_package_is_named() {
    // A path with a shell and nothing else.
    let folder = Folder::new("no-redis");
    std::fs::create_dir_all(&folder.0).expect("writable");
    std::os::unix::fs::symlink("/bin/sh", folder.0.join("sh")).expect("writable");
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["--redis", "--quick", "--story", "keep-alive", "--out"])
        .args([folder.path()])
        .env("PATH", &folder.0)
        .output()
        .expect("the lab was built");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("skipped: there is a redis-server in one of the usual places");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the package is called redis-server"),
        "{stderr}"
    );
    assert!(stderr.contains("--redis redis://HOST:PORT"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn whatever_ends_the_lab_ends_the_redis_it_started() {
    if redis(&[]).is_none() {
        return;
    }
    for signal in ["-INT", "-TERM", "-KILL"] {
        let folder = Folder::new(&format!("redis{signal}"));
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["--redis", "--story", "keep-alive", "--out", folder.path()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the lab was built");
        let mut stderr = std::io::BufReader::new(lab.stderr.take().expect("piped"));
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut line).expect("readable");
        let address = redis_named_in(&line);
        assert!(TcpStream::connect(address).is_ok(), "{line}");
        let sent = Command::new("kill")
            .args([signal, &lab.id().to_string()])
            .status();
        assert!(sent.expect("there is a kill").success());
        lab.wait().expect("it ends");
        let is_gone = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            TcpStream::connect(address).is_err()
        });
        assert!(is_gone, "it outlives the lab after {signal}");
    }
}

/// The first address after `redis://`.
fn redis_named_in(text: &str) -> SocketAddr {
    let (_, rest) = text.split_once("redis://").expect(text);
    let end = rest.find([',', '/', ' ']).unwrap_or(rest.len());
    rest[..end].parse().expect(text)
}
