//! Compares a Phase fetch with the bare pipeline, in turn, in one run.
//!
//! ```text
//! parent ── per round and contender ──► server process   (serve-bare | serve-phase)
//!        └────────────────────────────► fetching process (fetch-bare | fetch-phase): measures itself
//! ```
//!
//! The parent prepares one file, starts the pairs one after the other, compares the hash of every result and prints
//! the ratio. A wrong result ends the run with exit code 1.

mod bare;
mod child;
mod contender;
mod phase;
mod report;
mod rounds;
mod stock;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use libp2p::Multiaddr;
use phase_benches::size::ByteSize;
use phase_benches::{Result, chain};

use contender::{Contender, Memory, Shape, Transport};

/// Fetches one file over and over: with the bare pipeline (pread, libp2p stream, BLAKE3, pwrite; nothing else) and
/// with Phase, in turn, and prints the ratio of their speeds.
#[derive(Parser)]
#[command(name = "side-by-side", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What is compared, how often and where.
#[derive(clap::Args)]
struct Options {
    /// How often each contender fetches the file.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The size of the file, for instance 1GiB or 256MiB.
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// Where the file, the stores and the results are kept: twice the size. A tmpfs, or the disk decides.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// What both contenders run over.
    #[arg(long, value_enum, default_value_t = Transport::Tls)]
    transport: Transport,
    /// Who fetches: phase; `bare-STREAMSxCONNECTIONS`, the pipeline over Phase's own transport; `stock-…`, over
    /// libp2p's as it comes. The ratio needs Phase and another one
    #[arg(long, value_delimiter = ',', default_value = "stock-1,bare-1,bare-2,phase")]
    contenders: Vec<Contender>,
    /// How much memory the Phase client may use.
    #[arg(long, value_enum, default_value_t = Memory::Normal)]
    memory: Memory,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// The processes that the parent starts.
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
        /// The memory profile.
        #[arg(long, value_enum, default_value_t = Memory::Normal)]
        memory: Memory,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.child {
        None => rounds::run(&args.options),
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

fn run_child(child: Child) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match child {
            Child::ServeBare { transport, contender, file } => bare::serve(transport, shape(contender)?, &file).await,
            Child::FetchBare { transport, contender, address, file, size } => {
                child::tell(&bare::fetch(transport, shape(contender)?, address, &file, size).await?)
            }
            Child::ServePhase { transport, store } => phase::serve(transport, store).await,
            Child::FetchPhase { transport, address, store, trust_root, memory } => {
                child::tell(&phase::fetch(transport, address, store, &trust_root, memory).await?)
            }
        }
    })
}

fn shape(contender: Contender) -> Result<Shape> {
    match contender {
        Contender::Bare(shape) => Ok(shape),
        Contender::Phase => Err("this process is for the bare pipeline".into()),
    }
}
