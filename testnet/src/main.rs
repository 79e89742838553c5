//! `phase-testnet`: networks of Phase nodes on one machine, simulated and real.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "phase-testnet", about = "Networks of Phase nodes on one machine", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sim(cli::sim::Sim),
    #[cfg(feature = "dht")]
    Dht(cli::dht::Dht),
    #[cfg(feature = "soak")]
    Soak(cli::soak::Soak),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Sim(sim) => sim.run(),
        #[cfg(feature = "dht")]
        Command::Dht(dht) => dht.run(),
        #[cfg(feature = "soak")]
        Command::Soak(soak) => soak.run(),
    }
}
