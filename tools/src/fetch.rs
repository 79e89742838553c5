//! `phase fetch`: resolve a name and fetch its release, with a bar and a table.

use std::sync::Arc;

use phase_cli::{self as cli, Bytes, EXIT_CODES, Fault, FetchArgs, Fetched, Observer};
use phase_client::{Report, ResolveOptions, Resolved};
use phase_core::store::{MemStore, Store};

use crate::options::StoreArgs;
use crate::output::Output;
use crate::progress::{self, Progress};
use crate::{network, view};

const EXAMPLES: &str = "\
Examples:
  phase fetch stable/x86_64 --root root.cbor --output boot \\
      --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…
  phase fetch stable/x86_64 --root root.cbor --only kernel --json

Whatever was verified before an interruption is not fetched again.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let store: Arc<dyn Store> = match args.fetch.ephemeral {
        true => Arc::new(MemStore::default()),
        false => Arc::new(args.store.open()?),
    };
    let mut observer = Terminal { output, progress: Progress::Hidden, begun: false };
    network::block_on(cli::fetch(store, &args.fetch, &mut observer))
}

fn text(fetched: &Fetched) -> String {
    let Fetched { resolved, artifacts, report, output } = fetched;
    let mut lines = vec![
        format!("{} version {} ({})", resolved.name, resolved.manifest.version, resolved.manifest_cid),
        cli::summary_line(report),
    ];
    lines.extend(cli::peer_lines(report));
    if let Some(folder) = output {
        let names: Vec<_> = artifacts.iter().take(view::MAX_LISTED).map(|entry| entry.filename.as_str()).collect();
        let more = artifacts.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("in {}: {}{more}", folder.display(), cli::printable(&names.join(", "))));
    }
    lines.join("\n")
}

/// Shows a fetch as it goes.
struct Terminal<'a> {
    output: &'a Output,
    progress: Progress,
    begun: bool,
}

impl Observer for Terminal<'_> {
    fn resolved(&mut self, resolved: &Resolved) {
        let manifest = &resolved.manifest;
        let size = Bytes(manifest.artifacts.iter().map(|entry| entry.size).sum());
        let (count, peers) = (manifest.artifacts.len(), resolved.providers.len());
        let asked_for = ResolveOptions::default().answers;
        let few = if peers < asked_for { format!(" ({asked_for} were asked for)") } else { String::new() };
        let found =
            format!("{} version {} found in {:.2} s", resolved.name, manifest.version, resolved.elapsed.as_secs_f64());
        self.output.remark(&format!("{found}: {count} artifacts, {size}, offered by {peers} peers{few}"));
        self.progress = Progress::new(self.output.shows_progress());
    }

    fn progressed(&mut self, now: &phase_client::Progress) {
        if now.total > 0 && !std::mem::replace(&mut self.begun, true) {
            self.progress.begin_at(now.resumed);
        }
        self.progress.update(now.verified, now.total, &format!("{} peers", now.peers));
    }

    fn ended(&mut self) {
        self.progress.end();
    }

    fn failed(&mut self, report: &Report) {
        if self.output.shows_progress() {
            progress::line(&cli::summary_line(report));
            for line in cli::peer_lines(report) {
                progress::line(&line);
            }
        }
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        self.output.result(|| cli::json_report(fetched), || text(fetched))
    }
}
