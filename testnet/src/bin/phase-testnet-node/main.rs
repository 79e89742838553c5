//! `phase-testnet-node`: what a container of the testnet has beside Phase: a gate before a program, plain HTTP to compare
//! with, something to publish.

mod gate;
mod http_fetch;
mod http_serve;
mod publish;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Helpers inside of containers
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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Gate(gate) => gate.run(),
        Command::HttpServe(serve) => serve.run(),
        Command::HttpFetch(fetch) => fetch.run(),
        Command::Publish(publish) => publish.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
