//! `phase-hostile`: a node that takes part in the network as a provider does, and does harm with chunks. For tests alone.

mod answer;
mod node;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use phase_cli as cli;
use phase_cli::{Fault, NodeArgs, Signals};
use phase_core::Failure;
use phase_core::failure::EXIT_CODES;
use phase_node::Multiaddr;
use phase_scenario::Harm;

/// Serves a store with malice, to see what others do about it
///
/// It announces what is in the store and answers every question about releases as a provider does; what it does to chunks
/// is told with --harm. What it has spoilt is printed as JSON, one document per line.
#[derive(Parser)]
#[command(name = "phase-hostile", version, after_help = EXIT_CODES)]
struct Cli {
    /// The store whose releases it says it has
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    store: PathBuf,
    /// corrupt: one bit of each chunk is wrong; stall: nothing comes; lie: every chunk is missing after all; drip: a few
    /// bytes a second; oversize: headers announce more than a chunk may have
    #[arg(long, value_name = "KIND")]
    harm: Harm,
    /// Address to serve on; repeatable
    #[arg(long, value_name = "ADDR", default_value = "/ip4/0.0.0.0/tcp/4001")]
    listen: Vec<Multiaddr>,
    #[command(flatten)]
    node: NodeArgs,
    /// Log more; twice: much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let args = Cli::parse();
    cli::init_logging(args.verbose, std::io::stderr);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(true),
    }
}

fn run(args: &Cli) -> Result<(), Fault> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            ended = node::run(args) => ended,
            () = signals.next() => Ok(()),
        }
    })
}
