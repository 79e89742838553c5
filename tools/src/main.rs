//! `phase`: the operator's command line. One module per command; what a library could do is in a library.

mod advertise;
mod demo;
mod dht;
mod envelopes;
mod fetch;
mod files;
mod inspect;
mod key;
mod manifest;
mod network;
mod options;
mod output;
mod peers;
mod progress;
mod providers;
mod publish;
mod release;
mod resolve;
mod root;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use phase_cli::{self as cli, EXIT_CODES, Fault};

use options::Global;
use output::Output;

/// Publish, find, fetch and inspect boot artifacts, all of them signed and verified.
#[derive(Parser)]
#[command(name = "phase", version, propagate_version = false, after_help = EXIT_CODES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  phase key new publisher.key
  phase root new --channel stable --key publisher.key -o root.cbor
  phase publish --store /srv/phase --root root.cbor --key publisher.key \\
      --channel stable --arch x86_64 --artifact kernel=vmlinuz --artifact initramfs=initrd.img
  phase-provider serve --store /srv/phase
  phase fetch stable/x86_64 --root root.cbor --output boot \\
      --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…";

#[derive(Subcommand)]
enum Command {
    /// Make and show signing keys
    #[command(subcommand)]
    Key(key::Command),
    /// Make, sign and show trust roots: who may sign which channel
    #[command(subcommand)]
    Root(root::Command),
    /// Make, sign, merge, show and verify manifests, one step at a time
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Import artifacts, sign a manifest and publish it, all at once
    Publish(publish::Args),
    /// Find the newest release of a name and show it
    Resolve(resolve::Args),
    /// Fetch a release from every provider at once; an interrupted fetch resumes
    Fetch(fetch::Args),
    /// Show who provides a name or CID, and whether they can be reached
    Providers(providers::Args),
    /// Announce a name or a publisher whose files are hosted elsewhere, without serving anything
    #[command(subcommand)]
    Advertise(advertise::Command),
    /// Join the network and show peers as they come and go
    Peers(peers::Args),
    /// Ask the DHT itself: what it holds, who is where, how large it is
    #[command(subcommand)]
    Dht(dht::Command),
    /// Show what a file or a CID in a store is
    Inspect(inspect::Args),
    /// Show the whole of Phase on this machine, over real loopback sockets
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    cli::init_logging(global.verbose, progress::log_writer);
    let output = Output::new(&global);
    match run(command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(global.json),
    }
}

fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::Key(command) => key::run(command, output),
        Command::Root(command) => root::run(command, output),
        Command::Manifest(command) => manifest::run(command, output),
        Command::Publish(args) => publish::run(&args, output),
        Command::Resolve(args) => resolve::run(&args, output),
        Command::Fetch(args) => fetch::run(&args, output),
        Command::Providers(args) => providers::run(&args, output),
        Command::Advertise(command) => advertise::run(command, output),
        Command::Peers(args) => peers::run(&args, output),
        Command::Dht(command) => dht::run(command, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Demo(args) => demo::run(args, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
