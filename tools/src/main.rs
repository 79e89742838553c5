//! `phase`, the operator's command line. Each command has its own module. Code that other programs can use is in the
//! libraries.

mod advertise;
mod clock;
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
mod store;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use phase_cli::{self as cli, EXIT_CODES, Fault};

use options::Global;
use output::Output;

/// Publish, find, fetch and inspect signed boot artifacts
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
  phase publish --store store --root root.cbor --key publisher.key \\
      --channel stable --arch x86_64 --artifact kernel=vmlinuz --artifact initramfs=initrd.img
  phase-provider serve --store store                  # keeps running: continue in a second terminal
  phase fetch stable/x86_64 --root root.cbor --store client --output boot --bootstrap /ip4/127.0.0.1/tcp/4001

`phase COMMAND --help` shows the options and examples of a command.";

#[derive(Subcommand)]
enum Command {
    /// Make and show signing keys
    #[command(subcommand, after_help = key::EXAMPLES)]
    Key(key::Command),
    /// Make, sign, merge and show trust roots: which keys may sign which channel
    #[command(subcommand, after_help = root::EXAMPLES)]
    Root(root::Command),
    /// Make, sign, merge, show and verify manifests, one step at a time
    #[command(subcommand, after_help = manifest::EXAMPLES)]
    Manifest(manifest::Command),
    /// Import files as artifacts, sign a manifest of them and publish it
    Publish(publish::Args),
    /// Find the newest release of a name and show it
    Resolve(resolve::Args),
    /// Fetch a release from all of its providers at once; an interrupted fetch resumes
    Fetch(fetch::Args),
    /// Show the providers of a name or CID, and whether they can be reached
    Providers(providers::Args),
    /// Announce a name or a publisher whose files are hosted elsewhere, without serving anything
    #[command(subcommand, after_help = advertise::EXAMPLES)]
    Advertise(advertise::Command),
    /// Join the network, and show peers as they connect and disconnect
    Peers(peers::Args),
    /// Query the DHT: its records, its nodes, its size
    #[command(subcommand, after_help = dht::EXAMPLES)]
    Dht(dht::Command),
    /// Show the content of a file, or of a CID in a store
    Inspect(inspect::Args),
    /// Show, verify, repair, prune and empty a store
    #[command(subcommand, after_help = store::EXAMPLES)]
    Store(store::Command),
    /// Demonstrate publishing, discovery and fetching on this machine, over loopback sockets
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    cli::raise_descriptor_limit();
    cli::init_logging(global.verbose, progress::log_writer);
    let output = Output::new(&global);
    match run(command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(global.json, global.verbose),
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
        Command::Store(command) => store::run(command, output),
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

    #[test]
    fn every_command_has_a_short_purpose_and_examples() {
        let mut root = Cli::command();
        // `build` adds the global options to every subcommand.
        root.build();
        let mut commands = vec![root];
        while let Some(mut command) = commands.pop() {
            let help = command.render_long_help().to_string();
            let name = command.get_name().to_owned();
            let purpose = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((1..=160).contains(&purpose.len()), "{name}: {purpose:?}");
            assert!(help.contains("Examples:"), "{name}: {help}");
            commands.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        }
    }

    #[test]
    fn every_example_in_the_help_is_a_valid_command_line() {
        let mut commands = vec![Cli::command()];
        let mut checked = 0;
        while let Some(mut command) = commands.pop() {
            let help = command.render_long_help().to_string().replace("\\\n", " ");
            for example in help.lines().map(str::trim_start).filter(|line| line.starts_with("phase ")) {
                let example = example.split(" # ").next().unwrap_or(example);
                // An example that needs the output of another command is skipped.
                if !example.contains("$(") {
                    let parsed = Cli::command().try_get_matches_from(words(example));
                    assert!(parsed.is_ok(), "{example}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
                    checked += 1;
                }
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(checked > 30, "only {checked} examples were found");
    }

    /// Splits a command line at spaces. Text between single quotes stays one word.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (position, part) in line.split('\'').enumerate() {
            match position % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }
}
