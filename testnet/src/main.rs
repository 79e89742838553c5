//! `phase-testnet`: runs testnets, which are networks of simulated or real Phase nodes on one machine.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "phase-testnet",
    about = "Run testnets: networks of simulated or real Phase nodes on one machine",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(cli::docker::run::Run),
    Up(cli::docker::Up),
    Down(cli::docker::Down),
    Report(cli::docker::Report),
    #[command(hide = true)]
    Reap(cli::docker::Reap),
    Sim(cli::sim::Sim),
    #[cfg(feature = "real")]
    Dht(cli::dht::Dht),
    #[cfg(feature = "real")]
    Soak(cli::soak::Soak),
}

fn main() -> ExitCode {
    cli::end(match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Up(up) => up.run(),
        Command::Down(down) => down.run(),
        Command::Report(report) => report.run(),
        Command::Reap(reap) => reap.run(),
        Command::Sim(sim) => sim.run(),
        #[cfg(feature = "real")]
        Command::Dht(dht) => dht.run(),
        #[cfg(feature = "real")]
        Command::Soak(soak) => soak.run(),
    })
}
