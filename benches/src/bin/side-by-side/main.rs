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
mod phase;
mod report;
mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use libp2p::Multiaddr;
use phase_benches::size::ByteSize;
use phase_benches::{Result, chain};

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
    /// Only these contenders; the ratio needs Phase and a bare one.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bare-1,bare-2,phase")]
    contenders: Vec<Contender>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Contender {
    /// The bare pipeline over one stream.
    #[value(name = "bare-1")]
    Bare1,
    /// The bare pipeline over two streams of one connection.
    #[value(name = "bare-2")]
    Bare2,
    /// A Phase client from a Phase provider.
    Phase,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Bare1 => "bare, 1 stream",
            Self::Bare2 => "bare, 2 streams",
            Self::Phase => "Phase fetch",
        }
    }
}

/// What the bytes travel over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// TCP with TLS and yamux.
    Tls,
    /// QUIC.
    Quic,
}

impl Transport {
    /// An address of this machine on a free port.
    fn listen_address(self) -> Multiaddr {
        let text = match self {
            Self::Tls => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        text.parse().expect("a multiaddr")
    }

    /// As a child process is told.
    fn argument(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tls => "TCP + TLS + yamux",
            Self::Quic => "QUIC",
        }
    }
}

/// The processes that the parent starts.
#[derive(Subcommand)]
enum Child {
    #[command(hide = true)]
    ServeBare {
        #[arg(value_enum)]
        transport: Transport,
        file: PathBuf,
    },
    #[command(hide = true)]
    FetchBare { address: Multiaddr, file: PathBuf, size: u64, streams: u64 },
    #[command(hide = true)]
    ServePhase {
        #[arg(value_enum)]
        transport: Transport,
        store: PathBuf,
    },
    #[command(hide = true)]
    FetchPhase { address: Multiaddr, store: PathBuf, trust_root: PathBuf },
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
            Child::ServeBare { transport, file } => bare::serve(transport, &file).await,
            Child::FetchBare { address, file, size, streams } => {
                child::tell(&bare::fetch(address, &file, size, streams).await?)
            }
            Child::ServePhase { transport, store } => phase::serve(transport, store).await,
            Child::FetchPhase { address, store, trust_root } => {
                child::tell(&phase::fetch(address, store, &trust_root).await?)
            }
        }
    })
}
