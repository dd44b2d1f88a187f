#![doc = include_str!("../README.md")]

mod census;
mod client;
mod clock;
mod heard;
mod limits;
mod manager;
mod policy;
mod progress;
mod report;
mod run;
mod sampler;
mod server;
mod sockets;
mod stories;
mod tally;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::report::Folder;
use crate::run::{Outcome, Request};
use crate::stories::{Foreign, NAMES, Scale};

/// Shows on real sockets what an idle connection does to a pool once its peer has closed it.
///
/// Without a command it tells five stories on loopback, with servers of its own, under several policies of one pool,
/// and writes report.html and report.json.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Tell everything in under 15 s instead of under a minute.
    #[arg(long)]
    quick: bool,

    /// Tell only this story; may be given again.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    story: Vec<String>,

    /// Where the reports go.
    #[arg(long, value_name = "FOLDER", default_value = "target/lab")]
    out: PathBuf,

    /// Exit with 1 if anything the lab expects of this pool does not hold.
    #[arg(long)]
    check: bool,

    /// List everything the lab expected of this pool, not only what does not hold.
    #[arg(long)]
    verbose: bool,

    /// Tell keep-alive and burst-on-a-stack against this server instead.
    ///
    /// The lab dials, sends nothing unless --send is given, and watches what the server does. What only a server can
    /// note is null in the report then.
    #[arg(long, value_name = "tcp://HOST:PORT", value_parser = parse_server)]
    server: Option<ServerName>,

    /// What to send to that server on every connection checked out; \r and \n are understood.
    #[arg(long, value_name = "TEXT", requires = "server")]
    send: Option<String>,

    /// After how many seconds that server is believed to close an idle connection.
    #[arg(long, value_name = "SECONDS", requires = "server", default_value = "5",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the TCP sockets of this machine, or of one process, by state and remote address.
    Sockets {
        /// Only those of this process.
        #[arg(long, value_name = "N")]
        pid: Option<u32>,

        /// Print them again each second, until interrupted.
        #[arg(long)]
        watch: bool,

        /// List every remote address, also those in TIME_WAIT, and not only the first 20 lines.
        #[arg(long)]
        all: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Sockets { pid, watch, all }) = cli.command {
        return match census::run(pid, watch, all) {
            Ok(()) => ExitCode::SUCCESS,
            // Without a process it is the platform that has nothing to show, not the user who asked wrongly.
            Err(message) => fail(&message, if pid.is_some() { 2 } else { 1 }),
        };
    }
    let foreign = cli.server.as_ref().map(|server| Foreign {
        name: server.name.clone(),
        addresses: server.addresses.clone(),
        send: cli.send.as_deref().map(unescape),
        idle_timeout: Duration::from_secs(cli.idle),
    });
    if let Some(server) = &cli.server {
        if let Err(error) = answers(server) {
            return fail(&error, 2);
        }
        if let Some(story) = cli
            .story
            .iter()
            .find(|name| !run::SUITS_ANY_SERVER.contains(&&name[..]))
        {
            let message = format!(
                "{story} needs a server of the lab's own; with --server there are {}",
                run::SUITS_ANY_SERVER.join(" and ")
            );
            Cli::command()
                .error(ErrorKind::ArgumentConflict, message)
                .exit();
        }
    }
    let shown = cli.out.display().to_string();
    let out = match Folder::prepare(cli.out) {
        Ok(out) => out,
        Err(error) => {
            let message = format!(
                "the reports cannot go to {shown}: {error}; choose another folder with --out"
            );
            return fail(&message, 2);
        }
    };
    let request = Request {
        scale: if cli.quick { Scale::Quick } else { Scale::Full },
        stories: cli.story,
        out,
        verbose: cli.verbose,
        server: cli.server.map(|server| server.url),
        foreign,
    };
    match run::run(&request) {
        Ok(Outcome::Complete { claims_hold }) if claims_hold || !cli.check => ExitCode::SUCCESS,
        Ok(Outcome::Complete { .. }) => ExitCode::FAILURE,
        // 128 and the number of SIGINT, as shells have it.
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => fail(&error.to_string(), 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}

/// A server of the user's.
#[derive(Clone, Debug)]
struct ServerName {
    url: String,
    name: String,
    addresses: Vec<SocketAddr>,
}

fn parse_server(url: &str) -> Result<ServerName, String> {
    let remedy = "write it as tcp://HOST:PORT, for instance tcp://127.0.0.1:6379";
    let Some(name) = url.strip_prefix("tcp://") else {
        return Err(format!("it does not begin with tcp://; {remedy}"));
    };
    let name = name.strip_suffix('/').unwrap_or(name);
    let Some((host, port)) = name
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    else {
        return Err(format!("the port is missing; {remedy}"));
    };
    if host.is_empty() {
        return Err(format!("the host is missing; {remedy}"));
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("`{port}` is no port from 1 to 65535; {remedy}"));
    }
    let addresses = name.to_socket_addrs().map_err(|error| {
        format!("the host `{host}` cannot be resolved: {error}; check its spelling")
    })?;
    Ok(ServerName {
        url: url.into(),
        name: name.into(),
        addresses: addresses.collect(),
    })
}

/// Dials once, so that a wrong address is told at the beginning and not after every story.
fn answers(server: &ServerName) -> Result<(), String> {
    let mut last = "it has no address".to_string();
    for address in &server.addresses {
        match std::net::TcpStream::connect_timeout(address, Duration::from_secs(3)) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(format!(
        "cannot connect to {}: {last}; is the server running there?",
        server.url
    ))
}

fn unescape(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_server_has_a_scheme_a_host_and_a_port() {
        let server = parse_server("tcp://127.0.0.1:80").expect("complete");
        assert_eq!(server.addresses, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        let server = parse_server("tcp://[::1]:80/").expect("complete");
        assert_eq!(server.addresses[0].to_string(), "[::1]:80");
    }

    #[test]
    fn a_bad_server_is_told_what_is_wrong_with_it() {
        for (url, wrong) in [
            ("127.0.0.1:80", "does not begin with tcp://"),
            ("http://127.0.0.1:80", "does not begin with tcp://"),
            ("tcp://127.0.0.1", "the port is missing"),
            ("tcp://[::1]", "the port is missing"),
            ("tcp://:80", "the host is missing"),
            ("tcp://127.0.0.1:http", "`http` is no port"),
            ("tcp://127.0.0.1:0", "`0` is no port"),
        ] {
            let message = parse_server(url).expect_err(url);
            assert!(message.contains(wrong), "{url}: {message}");
            assert!(message.contains("tcp://HOST:PORT"), "{url}: {message}");
        }
    }
}
