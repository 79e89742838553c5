//! `phase-hostile`: a node that joins the network like a provider but answers chunk requests harmfully. It exists only
//! for tests.

mod answer;
mod node;
mod options;

use std::process::ExitCode;

use clap::Parser as _;
use phase_cli as cli;
use phase_cli::{Fault, Signals};
use phase_core::Failure;

use options::Cli;

fn main() -> ExitCode {
    let args = Cli::parse();
    cli::init_logging(args.verbose, std::io::stderr);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(true, args.verbose),
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
