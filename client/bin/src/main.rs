//! `phase-client`: the fetching half of Phase for an initramfs. Short lines for a serial console, no colours, no
//! questions.

mod events;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use phase_cli::{self as cli, ByteRate, Bytes, EXIT_CODES, Fault, FetchArgs, Fetched, Observer};
use phase_client::{Progress, Report, ResolveOptions, Resolved};
use phase_core::Failure;
use phase_core::store::{FileStore, MemStore, Store};
use tokio::time::Instant;

use crate::events::Events;

/// How often a line tells how far it is.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Fetches what a publisher signed, from every provider at once.
#[derive(Parser)]
#[command(name = "phase-client", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Resolve a name and fetch its artifacts into a store; an interrupted fetch resumes
    #[command(after_help = EXIT_CODES, after_long_help = format!("{FETCH_EXAMPLES}\n\n{EXIT_CODES}"))]
    Fetch(Fetch),
}

const FETCH_EXAMPLES: &str = "\
Examples:
  phase-client fetch stable/x86_64 --root /etc/phase/root.cbor --store /run/phase \\
      --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW… --output /run/boot
  phase-client fetch stable/x86_64 --root root.cbor --store /run/phase --only kernel --only initramfs";

#[derive(Args)]
struct Fetch {
    #[command(flatten)]
    fetch: FetchArgs,
    /// Where artifacts are kept, and served from while fetching; with --ephemeral it is memory
    #[arg(long, value_name = "DIR", env = "PHASE_STORE", required_unless_present = "ephemeral")]
    store: Option<PathBuf>,
    /// Print one JSON document at the end, and nothing else on standard output
    #[arg(long)]
    json: bool,
    /// Print what happens as JSON, one document per line: started, resolved, progress (several times a second), fetched
    #[arg(long, conflicts_with = "json")]
    events: bool,
    /// Log more; twice: much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let Command::Fetch(args) = Cli::parse().command;
    cli::init_logging(args.verbose, std::io::stderr);
    cli::warn_of_key_log();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(args.json || args.events),
    }
}

fn run(args: &Fetch) -> Result<(), Fault> {
    let store: Arc<dyn Store> = match &args.store {
        Some(folder) if !args.fetch.ephemeral => Arc::new(FileStore::open(folder)?),
        _ => Arc::new(MemStore::default()),
    };
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    let mut observer: Box<dyn Observer> = match args.events {
        true => Box::new(Events::default()),
        false => Box::new(Console { json: args.json, last: None }),
    };
    runtime.block_on(cli::fetch(store, &args.fetch, observer.as_mut()))
}

/// Plain lines on standard output, or one JSON document in the end.
struct Console {
    json: bool,
    /// When the last line about progress was printed, and how much was verified then.
    last: Option<(Instant, u64)>,
}

impl Console {
    /// A console that cannot be written to must not stop a boot.
    fn line(&self, text: &str) {
        if !self.json {
            let _ = cli::print(&format!("{text}\n"));
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
        let peers = format!("{} of {} peers", resolved.providers.len(), ResolveOptions::default().answers);
        let count = manifest.artifacts.len();
        let line =
            format!("{} version {}: {count} artifacts, {}, {peers}", resolved.name, manifest.version, Bytes(size));
        self.line(&line);
    }

    fn progressed(&mut self, progress: &Progress) {
        let now = Instant::now();
        let (last, before) = *self.last.get_or_insert((now, progress.verified));
        if now - last >= LINE_INTERVAL && progress.total > 0 {
            let percent = progress.verified * 100 / progress.total;
            let rate = ByteRate::of(progress.verified - before, now - last);
            self.line(&format!("{percent}% {} {rate} {} peers", Bytes(progress.verified), progress.peers));
            self.last = Some((now, progress.verified));
        }
    }

    fn ended(&mut self) {}

    fn failed(&mut self, report: &Report) {
        self.table(report);
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        if self.json {
            return cli::print(&format!("{:#}\n", cli::json_report(fetched)));
        }
        self.table(&fetched.report);
        self.line(&format!("done {}", cli::summary_line(&fetched.report)));
        Ok(())
    }
}
