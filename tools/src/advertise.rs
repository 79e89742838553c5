//! `phase advertise`: says in the DHT where something is, for operators whose files are hosted elsewhere.
//!
//! Nothing is served and nobody can fetch from here: what is announced is a signed record, put again before the nodes
//! that keep it forget it.

mod announcement;
mod authority;
mod pointer;

use clap::Subcommand;
use phase_cli::{EXIT_CODES, Fault};

use crate::output::Output;

const NAME_EXAMPLES: &str = "\
Examples:
  phase advertise name stable/x86_64 --key online.key --version 7 --url https://example.org/stable/x86_64 \\
      --root root.cbor --once
  phase advertise name stable/x86_64 --key online.key --version 7 --manifest bafyr4i… --root root.cbor

With --manifest, whoever provides that manifest is found by its CID. With URLs alone, the name is there for clients that
read them. The record is signed anew every 30 minutes, for --lifetime each time, until SIGINT or SIGTERM. With --json
each round is a line with one JSON document.";

const AUTHORITY_EXAMPLES: &str = "\
Examples:
  phase advertise authority --key publisher.key --name stable/x86_64 --name edge/x86_64 \\
      --provider /dns4/seed.example.org/tcp/4001/p2p/12D3KooW…
  phase dht authority <key id>

It says what the key signs for, not that anybody has to trust it: that only a trust root says.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign where a name points to, and put that under the name's keys
    #[command(after_help = NAME_EXAMPLES, after_long_help = format!("{NAME_EXAMPLES}\n\n{EXIT_CODES}"))]
    Name(pointer::Args),
    /// Put a pointer record that was signed elsewhere, for instance STORE/refs/stable/x86_64
    #[command(after_long_help = EXIT_CODES)]
    Pointer(pointer::FileArgs),
    /// Sign which names a key signs for and where they are served, and put that under authority:KEY_ID
    #[command(after_help = AUTHORITY_EXAMPLES, after_long_help = format!("{AUTHORITY_EXAMPLES}\n\n{EXIT_CODES}"))]
    Authority(authority::Args),
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::Name(args) => pointer::run(&args, output),
        Command::Pointer(args) => pointer::run_file(&args, output),
        Command::Authority(args) => authority::run(&args, output),
    }
}
