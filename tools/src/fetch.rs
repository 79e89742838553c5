//! `phase fetch`: resolves a name and fetches its release, with a progress bar and a table of peers.

use std::sync::Arc;

use phase_cli::{self as cli, Bytes, EXIT_CODES, Fault, FetchArgs, Fetched, Observer, Printer, PruneArgs, counted};
use phase_client::{Report, ResolveOptions, Resolved};
use phase_core::handover::{HandoverError, Target};
use phase_core::store::Store;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::progress::{self, Progress};
use crate::{network, view};

const EXAMPLES: &str = "\
Examples:
  phase fetch stable/x86_64 --root root.cbor --output boot --bootstrap /ip4/127.0.0.1/tcp/4001
  phase fetch stable/x86_64 --root root.cbor --only kernel --json
  phase fetch stable/x86_64 --root root.cbor --output boot --keep 2          # then remove older releases from the store

The address is that of a provider on this machine: phase-provider serve --store store. Without --bootstrap, peers are
found in the local network. A fetch that was interrupted resumes: verified chunks are not fetched again.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let on_disk = if args.fetch.ephemeral { None } else { Some(args.store.open()?) };
    let store = on_disk.clone().map(|store| Arc::new(store) as Arc<dyn Store>);
    let printer = args.fetch.printer();
    let mut observer = Terminal { output, printer, progress: Progress::Hidden, begun: false };
    network::block_on(cli::fetch(store, &args.fetch, &mut observer))?;
    on_disk.map_or(Ok(()), |store| args.prune.prune(&store).map(drop))
}

fn text(fetched: &Fetched) -> String {
    let Fetched { resolved, artifacts, report, output } = fetched;
    let mut lines = vec![
        format!("{} version {} ({})", resolved.name, resolved.manifest.version, resolved.manifest_cid),
        cli::summary_line(report),
    ];
    lines.extend(cli::peer_lines(report));
    if let Some(Target::Folder(folder)) = output {
        let names: Vec<_> = artifacts.iter().take(view::MAX_LISTED).map(|entry| entry.filename.as_str()).collect();
        let more = artifacts.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("files in {}: {}{more}", folder.display(), cli::printable(&names.join(", "))));
    } else if let Some(path) = artifacts.first().and_then(|entry| fetched.path_of(entry)) {
        lines.push(format!("written to {}", path.display()));
    }
    lines.join("\n")
}

/// Shows the progress and the result of a fetch.
struct Terminal<'a> {
    output: &'a Output,
    printer: Printer,
    progress: Progress,
    /// Whether the number of resumed bytes has been passed to `progress`.
    begun: bool,
}

impl Observer for Terminal<'_> {
    fn resolved(&mut self, resolved: &Resolved) {
        let manifest = &resolved.manifest;
        let size = Bytes(manifest.artifacts.iter().map(|entry| entry.size).sum());
        let artifacts = counted(manifest.artifacts.len(), "artifact", "artifacts");
        let (peers, wanted) = (resolved.providers.len(), ResolveOptions::default().answers);
        let have = counted(peers, "peer has", "peers have");
        let few = if peers < wanted { format!(" (looked for {wanted})") } else { String::new() };
        let time = cli::seconds(resolved.elapsed.as_secs_f64());
        let found = format!("{} version {} found in {time}", resolved.name, manifest.version);
        self.output.remark(&format!("{found}: {artifacts}, {size}; {have} this release{few}"));
        self.progress = Progress::new(self.output.shows_progress());
    }

    fn progressed(&mut self, now: &phase_client::Progress) {
        if now.total > 0 && !std::mem::replace(&mut self.begun, true) {
            self.progress.begin_at(now.resumed);
        }
        self.progress.update(now.done(), now.needed(), &counted(now.peers, "peer", "peers"));
    }

    fn ended(&mut self) {
        self.progress.end();
    }

    fn damaged(&mut self, error: &HandoverError) {
        self.output.remark(&format!("{error}; it is set aside and fetched again"));
        self.begun = false;
        self.progress = Progress::new(self.output.shows_progress());
    }

    fn failed(&mut self, report: &Report) {
        if self.output.shows_progress() {
            progress::line(&cli::incomplete_line(report));
            for line in cli::peer_lines(report) {
                progress::line(&line);
            }
        }
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        self.output.result_to(self.printer, || cli::json_report(fetched), || text(fetched))
    }
}
