//! `phase advertise`: announces names and publishers in the DHT, for operators whose files are hosted elsewhere.
//!
//! The announcing node serves no content. It puts a signed record into the DHT, and puts the record again before it
//! expires on the DHT nodes.

mod announcement;
mod authority;
mod pointer;

use clap::Subcommand;
use phase_cli::{EXIT_CODES, Fault};

use crate::output::Output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase advertise name stable/x86_64 --key publisher.key --version 7 --url https://example.org/stable/x86_64 \\
      --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001 --once
  phase advertise pointer store/refs/stable/x86_64 --bootstrap /ip4/127.0.0.1/tcp/4001 --once";

const NAME_EXAMPLES: &str = "\
Examples:
  phase advertise name stable/x86_64 --key publisher.key --version 7 --url https://example.org/stable/x86_64 \\
      --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001 --once
  phase advertise name stable/x86_64 --key publisher.key --version 7 --bootstrap /ip4/127.0.0.1/tcp/4001 \\
      --manifest \"$(phase inspect store/refs/stable/x86_64 --json | jq -r .manifest)\" --once

With --manifest, clients find the providers of that manifest by its CID. A record with URLs alone is for clients that
fetch over HTTP. The record is signed and put again every 30 minutes, or after half of --lifetime if that is shorter,
until SIGINT or SIGTERM, unless --once is given. With --json, each announcement is one line with a JSON document.";

const POINTER_EXAMPLES: &str = "\
Examples:
  phase advertise pointer store/refs/stable/x86_64 --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001 --once";

const AUTHORITY_EXAMPLES: &str = "\
Examples:
  phase advertise authority --key publisher.key --name stable/x86_64 --name edge/x86_64 \\
      --provider /dns4/seed.example.org/tcp/4001 --bootstrap /ip4/127.0.0.1/tcp/4001 --once
  phase dht authority \"$(phase key show publisher.key --json | jq -r .key_id)\" --bootstrap /ip4/127.0.0.1/tcp/4001

The record says which names the key claims to sign for. Clients trust a key only if their trust root lists it.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign a pointer record for a name, and put it under the DHT keys of the name
    #[command(after_help = NAME_EXAMPLES, after_long_help = format!("{NAME_EXAMPLES}\n\n{EXIT_CODES}"))]
    Name(pointer::Args),
    /// Put a pointer record that was signed elsewhere, for instance STORE/refs/stable/x86_64
    #[command(after_help = POINTER_EXAMPLES, after_long_help = format!("{POINTER_EXAMPLES}\n\n{EXIT_CODES}"))]
    Pointer(pointer::FileArgs),
    /// Sign a list of the names and providers of a publisher's key, and put it under authority:KEY_ID
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
