//! Compares the speed of a Phase fetch with that of the bare pipeline. Both take turns within one run of this program.
//!
//! ```text
//! parent ── per round and contender ──► server process   (serve-bare | serve-phase)
//!        └────────────────────────────► fetching process (fetch-bare | fetch-phase): measures itself
//! ```
//!
//! The parent prepares one file and starts one pair of processes after another. It compares the hash of every fetched
//! file with that of the served file, and prints the ratio of the speeds. A wrong hash ends the run with exit code 1.

mod bare;
mod child;
mod contender;
mod options;
mod phase;
mod report;
mod rounds;
mod stock;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use libp2p::Multiaddr;
use phase_benches::{Result, chain};

use contender::{Contender, RamProfile, Shape, Transport};
use options::Options;

/// Fetch one file with the bare pipeline (pread, libp2p stream, BLAKE3, pwrite; nothing else) and with Phase, in turn,
/// and print the ratio of their speeds.
#[derive(Parser)]
#[command(name = "side-by-side", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    child: Option<Child>,
}

/// The subcommands with which the parent starts its child processes.
#[derive(Subcommand)]
enum Child {
    #[command(hide = true)]
    ServeBare {
        #[arg(value_enum)]
        transport: Transport,
        contender: Contender,
        file: PathBuf,
    },
    #[command(hide = true)]
    FetchBare {
        #[arg(value_enum)]
        transport: Transport,
        contender: Contender,
        address: Multiaddr,
        file: PathBuf,
        size: u64,
    },
    #[command(hide = true)]
    ServePhase {
        #[arg(value_enum)]
        transport: Transport,
        store: PathBuf,
    },
    #[command(hide = true)]
    FetchPhase {
        #[arg(value_enum)]
        transport: Transport,
        address: Multiaddr,
        store: PathBuf,
        trust_root: PathBuf,
        /// RAM profile of the Phase client.
        #[arg(long, value_enum, default_value_t = RamProfile::Normal)]
        memory: RamProfile,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.child {
        None => compare(&args.options),
        Some(child) => run_child(child),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side-by-side: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<()> {
    let runs = rounds::run(options, |run| report::print_run(options, run))?;
    report::print(options, &runs);
    Ok(())
}

fn run_child(child: Child) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match child {
            Child::ServeBare { transport, contender, file } => bare::serve(transport, shape(contender)?, &file).await,
            Child::FetchBare { transport, contender, address, file, size } => {
                child::print_answer(&bare::fetch(transport, shape(contender)?, address, &file, size).await?)
            }
            Child::ServePhase { transport, store } => phase::serve(transport, store).await,
            Child::FetchPhase { transport, address, store, trust_root, memory } => {
                child::print_answer(&phase::fetch(transport, address, store, &trust_root, memory).await?)
            }
        }
    })
}

fn shape(contender: Contender) -> Result<Shape> {
    match contender {
        Contender::Bare(shape) => Ok(shape),
        Contender::Phase => Err("this process only runs the bare pipeline".into()),
    }
}
