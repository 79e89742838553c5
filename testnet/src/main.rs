//! `phase-testnet`: networks on one machine.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "phase-testnet", about = "Simulates swarms of Phase nodes", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sim(cli::sim::Sim),
    #[cfg(feature = "dht")]
    Dht(cli::dht::Dht),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Sim(sim) => sim.run(),
        #[cfg(feature = "dht")]
        Command::Dht(dht) => dht.run(),
    }
}
