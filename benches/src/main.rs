#![doc = include_str!("../README.md")]

mod census;
mod client;
mod foreign;
mod heard;
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

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use yardstick::{clock, redis_server};

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser, Subcommand};

use crate::foreign::{Address, Foreign};
use crate::redis_server::RedisServer;
use crate::report::Folder;
use crate::run::{Outcome, Request};
use crate::stories::{NAMES, Scale};

/// Shows on real sockets what an idle connection does to a pool once its peer has closed it.
///
/// Without a command it tells five stories on loopback, with servers of its own, under several policies of one pool,
/// and writes report.html and report.json.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    group = ArgGroup::new("foreign")
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
    #[arg(long, value_name = "tcp://HOST:PORT", group = "foreign", value_parser = Address::parse_tcp)]
    server: Option<Address>,

    /// What to send to that server on every connection checked out; \r and \n are understood.
    #[arg(long, value_name = "TEXT", requires = "server")]
    send: Option<String>,

    /// Tell them against a Redis: one that is started for this (a redis-server must be installed), or yours.
    ///
    /// Yours is asked for its timeout (CONFIG GET); nothing is set there, and the pools send PING.
    #[arg(long, value_name = "redis://HOST:PORT", num_args = 0..=1, group = "foreign",
          value_parser = Address::parse_redis)]
    redis: Option<Option<Address>>,

    /// After how many seconds that server is believed to close an idle connection [default: 5].
    ///
    /// With --redis alone: the timeout it is started with [default: 1].
    #[arg(long, value_name = "SECONDS", requires = "foreign", value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle: Option<u64>,
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
    let is_foreign = cli.server.is_some() || cli.redis.is_some();
    let suits = |name: &&String| !is_foreign || run::SUITS_ANY_SERVER.contains(&name.as_str());
    if let Some(story) = cli.story.iter().find(|name| !suits(name)) {
        let message = format!(
            "{story} needs a server of the lab's own; with --server and --redis there are {}",
            run::SUITS_ANY_SERVER.join(" and ")
        );
        Cli::command()
            .error(ErrorKind::ArgumentConflict, message)
            .exit();
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
    let idle = cli.idle.map(Duration::from_secs);
    // Lives as long as the stories; so does what is made below to read them.
    let redis;
    let foreign = match (cli.server, cli.redis) {
        (Some(address), _) => {
            let send = cli.send.as_deref().map(unescape);
            Foreign::any(address, send, idle.unwrap_or(Duration::from_secs(5))).map(Some)
        }
        (None, Some(Some(address))) => Foreign::users_redis(address, idle).map(Some),
        (None, Some(None)) => {
            let timeout = idle.unwrap_or(Duration::from_secs(1));
            redis = match RedisServer::start(&["--timeout", &timeout.as_secs().to_string()]) {
                Ok(redis) => redis,
                Err(error) => {
                    let message = format!("{error}; --redis redis://HOST:PORT uses one that runs");
                    return fail(&message, 1);
                }
            };
            Ok(Some(Foreign::own_redis(&redis, timeout)))
        }
        (None, None) => Ok(None),
    };
    let foreign = match foreign {
        Ok(foreign) => foreign,
        Err(message) => return fail(&message, 2),
    };
    let request = Request {
        scale: if cli.quick { Scale::Quick } else { Scale::Full },
        stories: cli.story,
        out,
        verbose: cli.verbose,
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
}
