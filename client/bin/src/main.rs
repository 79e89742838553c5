//! `phase-client`: the program that fetches releases, for instance in an initramfs. It prints short lines without
//! colours, which suit a serial console, and asks no questions.

mod events;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use phase_cli::{
    self as cli, ByteRate, Bytes, EXIT_CODES, Fault, FetchArgs, Fetched, Observer, Printer, PruneArgs, counted,
};
use phase_client::{Progress, Report, ResolveOptions, Resolved};
use phase_core::Failure;
use phase_core::handover::HandoverError;
use phase_core::store::{FileStore, Store};
use tokio::time::Instant;

use crate::events::Events;

/// The time between two lines that show progress.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
/// The heading in `--help` of the options about output.
const OUTPUT: &str = "Output options";

/// Fetch signed releases from all of their providers at once
#[derive(Parser)]
#[command(name = "phase-client", version, after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch the newest release of a name from all of its providers at once; an interrupted fetch resumes
    #[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
    Fetch(Fetch),
}

const EXAMPLES: &str = "\
Examples:
  Fetch a release and put its files into the folder boot:
    phase-client fetch stable/x86_64 --root root.cbor --store client --output boot \\
        --bootstrap /ip4/127.0.0.1/tcp/4001
  Fetch a release, and remove all but this and the previous release from the store:
    phase-client fetch stable/x86_64 --root root.cbor --store client --output boot --keep 2 \\
        --bootstrap /ip4/127.0.0.1/tcp/4001
  Fetch only the kernel, and print events as JSON:
    phase-client fetch stable/x86_64 --root root.cbor --store client --only kernel --events \\
        --bootstrap /ip4/127.0.0.1/tcp/4001
  Fetch from one provider without the DHT, and keep nothing but the files in boot:
    phase-client fetch stable/x86_64 --root root.cbor --ephemeral --output boot --peer /ip4/127.0.0.1/tcp/4001

The address is that of a provider on this machine: phase-provider serve --store store. The file root.cbor is the trust
root of the publisher. Without --bootstrap and --peer, peers are found in the local network.";

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    fetch: FetchArgs,
    /// The folder of the store for the fetched artifacts, created if it does not exist. Either --store DIR or
    /// --ephemeral is required
    #[arg(long, value_name = "DIR", env = "PHASE_STORE", required_unless_present = "ephemeral")]
    store: Option<PathBuf>,
    #[command(flatten)]
    prune: PruneArgs,
    /// Print the result as JSON on standard output, and errors as JSON on standard error
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// Print events as JSON, one document per line: started, resolved, progress (several times a second), damaged (an
    /// artifact of the store is fetched again), and fetched, or failed if no valid chunk arrived in time. Every failure
    /// is also a JSON error on standard error
    #[arg(long, conflicts_with = "json", help_heading = OUTPUT)]
    events: bool,
    /// Log events to standard error, and list every peer and address in errors; -vv logs details. RUST_LOG overrides
    /// the level of the log
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    verbose: u8,
}

fn main() -> ExitCode {
    let Command::Fetch(args) = Cli::parse().command;
    cli::raise_descriptor_limit();
    cli::init_logging(args.verbose, std::io::stderr);
    cli::warn_of_key_log();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(args.json || args.events, args.verbose),
    }
}

fn run(args: &Fetch) -> Result<(), Fault> {
    let on_disk = match &args.store {
        Some(folder) if !args.fetch.ephemeral => Some(FileStore::open(folder)?),
        _ => None,
    };
    if let Some(store) = &on_disk {
        cli::warn_of_store(store.warnings());
    }
    let store = on_disk.clone().map(|store| Arc::new(store) as Arc<dyn Store>);
    let printer = args.fetch.printer();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    let mut observer: Box<dyn Observer> = match args.events {
        true => Box::new(Events::new(printer)),
        false => Box::new(Console { json: args.json, printer, last: None }),
    };
    runtime.block_on(cli::fetch(store, &args.fetch, observer.as_mut()))?;
    on_disk.map_or(Ok(()), |store| args.prune.prune(&store).map(drop))
}

/// An observer that prints plain lines on standard output, or one JSON document at the end.
struct Console {
    json: bool,
    printer: Printer,
    /// The time of the last progress line, and the number of fetched bytes at that time.
    last: Option<(Instant, u64)>,
}

impl Console {
    /// Prints a line, except with `--json`. Ignores errors, because a console that cannot be written to must not stop a
    /// boot.
    fn line(&self, text: &str) {
        if !self.json {
            let _ = self.printer.print(&format!("{text}\n"));
        }
    }

    fn table(&self, report: &Report) {
        for (id, peer) in &report.peers {
            let figures = format!("peer {id} {} {}", Bytes(peer.bytes), ByteRate(peer.rate()));
            self.line(&format!("{figures} {}", cli::verdict_text(&peer.verdict)));
        }
    }
}

impl Observer for Console {
    fn resolved(&mut self, resolved: &Resolved) {
        let manifest = &resolved.manifest;
        let size = manifest.artifacts.iter().map(|entry| entry.size).sum();
        let artifacts = counted(manifest.artifacts.len() as u64, "artifact", "artifacts");
        let peers = counted(resolved.providers.len() as u64, "peer", "peers");
        let sought = ResolveOptions::default().answers;
        let release = format!("{} version {}", resolved.name, manifest.version);
        self.line(&format!("{release}: {artifacts}, {}, {peers} (looked for {sought})", Bytes(size)));
    }

    fn progressed(&mut self, progress: &Progress) {
        let now = Instant::now();
        let (last, before) = *self.last.get_or_insert((now, progress.fetched()));
        if now - last >= LINE_INTERVAL && progress.total > 0 {
            let (done, fetched) = (progress.done(), progress.fetched());
            let percent = (done * 100).checked_div(progress.needed()).unwrap_or(100);
            let rate = ByteRate::of(fetched - before, now - last);
            let peers = counted(progress.peers, "peer", "peers");
            self.line(&format!("{percent}% {} {rate} {peers}", Bytes(done)));
            self.last = Some((now, fetched));
        }
    }

    fn ended(&mut self) {}

    fn damaged(&mut self, error: &HandoverError) {
        self.line(&format!("{error}; it is set aside and fetched again"));
        self.last = None;
    }

    fn failed(&mut self, report: &Report) {
        self.table(report);
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        if self.json {
            return self.printer.print(&format!("{:#}\n", cli::json_report(fetched)));
        }
        let report = &fetched.report;
        let summary = cli::summary_line(report);
        if report.to_fetch() == 0 {
            self.line(&summary);
        } else {
            self.table(report);
            self.line(&format!("done {summary}"));
        }
        Ok(())
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
    fn every_example_in_the_help_is_a_valid_command_line() {
        let examples = EXAMPLES.replace("\\\n", " ");
        let lines: Vec<_> = examples.lines().map(str::trim).filter(|line| line.starts_with("phase-client ")).collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            let parsed = Cli::command().try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        }
    }
}
