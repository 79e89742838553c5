//! `phase-testnet-node`: the helper programs of a testnet. Each is a subcommand.
//!
//! - `gate` waits for a gate file and then runs a program, so that programs in many containers start at the same time.
//! - `http-serve` and `http-fetch` are the server and the client of the HTTP baseline.
//! - `publish` publishes a generated release, for testnets that a person starts by hand.
//! - `delay` is the relay, which adds latency. The lab runs it outside the containers.

#[cfg(target_os = "linux")]
mod delay;
mod gate;
mod http_fetch;
mod http_serve;
mod publish;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Helper programs for testnets in containers
#[derive(Parser)]
#[command(name = "phase-testnet-node", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Gate(gate::Gate),
    HttpServe(http_serve::HttpServe),
    HttpFetch(http_fetch::HttpFetch),
    Publish(publish::Publish),
    #[cfg(target_os = "linux")]
    Delay(delay::Delay),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Gate(gate) => gate.run(),
        Command::HttpServe(serve) => serve.run(),
        Command::HttpFetch(fetch) => fetch.run(),
        Command::Publish(publish) => publish.run(),
        #[cfg(target_os = "linux")]
        Command::Delay(delay) => delay.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
