//! `phase-testnet-node`: the helper programs of a testnet. In containers it runs as a gate that starts programs
//! together, as an HTTP server or client for comparison, or as a publisher. Outside the containers it runs as a relay
//! that adds latency.

#[cfg(target_os = "linux")]
mod delay;
mod gate;
mod http_fetch;
mod http_serve;
mod publish;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Helper programs in containers and beside them
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
