//! `phase demo`: a whole network on one machine. A bootstrap node, three providers and a client, each a node of its own
//! with its own key, store and sockets; one provider is stopped halfway.

mod files;
mod network;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{Bytes, EXIT_CODES, Fault};
use phase_client::{Client, FetchOptions, Report, ResolveOptions, Resolved};
use phase_core::manifest::ArtifactEntry;
use phase_core::store::Store;
use phase_core::{Fails, Failure};

use crate::output::Output;
use files::Chosen;
use network::Network;
use table::Outcome;

/// Providers the demo starts. One of them is stopped.
const PROVIDERS: usize = 3;
/// What is published when no folder is given.
const MAX_BYTES: u64 = 512 << 20;
/// With less than this the fetch is over before a provider can be stopped.
const MIN_BYTES: u64 = 16 << 20;
/// How long the announcements may take.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(60);

const ABOUT: &str = "\
Starts a bootstrap node, three providers and a client, publishes files, resolves them through the DHT, fetches from all
three providers at once, kills one of them halfway, and compares what arrived with what was published. Nothing is left
behind, and nothing leaves this machine.";

#[derive(clap::Args)]
#[command(after_help = ABOUT, after_long_help = format!("{ABOUT}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Publish the files below this folder instead of this machine's own (at least 16 MiB)
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Keep the stores in this folder while the demo runs, instead of the one for temporary files
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// Why a demo failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Files(#[from] files::FilesError),
    #[error("cannot set up the network")]
    Network(#[from] network::NetworkError),
    #[error("cannot resolve what was published")]
    Resolve(#[from] phase_client::ResolveError),
    #[error("the fetch failed")]
    Fetch(#[from] phase_client::FetchError),
    #[error("the demo did not show what it should: {0}")]
    Off(String),
}

impl Fails for DemoError {
    fn failure(&self) -> Failure {
        match self {
            Self::Files(_) => Failure::Input,
            Self::Network(_) | Self::Off(_) => Failure::Other,
            Self::Resolve(error) => error.failure(),
            Self::Fetch(error) => error.failure(),
        }
    }
}

/// Runs the demo. Everything about the result must be as it should, or it fails.
pub(crate) fn run(args: Args, output: &Output) -> Result<(), Fault> {
    crate::network::ask(show(args, output))
}

async fn show(args: Args, output: &Output) -> Result<(), Fault> {
    let chosen = files::choose(args.path.as_deref(), MAX_BYTES, MIN_BYTES).map_err(DemoError::from)?;
    output.remark(&format!("publishing {} files, {}", chosen.files.len(), Bytes(chosen.bytes)));
    let began = crate::progress::now();
    let mut network = Network::start(args.work_dir.as_deref(), PROVIDERS, &chosen).await.map_err(DemoError::from)?;
    let seconds = (crate::progress::now() - began).as_secs_f64();
    output.remark(&format!("published in {PROVIDERS} stores, each served by a provider of its own, in {seconds:.1} s"));
    network.announced(ANNOUNCE_TIMEOUT).await.map_err(DemoError::from)?;
    let client = network.client().await.map_err(DemoError::from)?;
    let options = ResolveOptions { answers: PROVIDERS, ..ResolveOptions::default() };
    let resolved = client.resolve(&network.name, &network.trust, options).await.map_err(DemoError::from)?;
    let milliseconds = resolved.elapsed.as_secs_f64() * 1000.0;
    let valid = resolved.answers.iter().filter(|answer| answer.result.is_ok()).count();
    output
        .remark(&format!("resolved {} through the DHT in {milliseconds:.0} ms, {valid} valid answers", resolved.name));
    let (report, killed) = fetch(&client, &resolved, &mut network, output).await?;
    let compared = compare(&chosen, &resolved, client.catalog().store().clone()).await;
    client.stop().await;
    let peers = network.peer_ids().to_vec();
    network.stop().await;
    let outcome = Outcome { resolved: &resolved, report: &report, peers: &peers, killed, compared };
    output.result(|| outcome.json(), || outcome.table())?;
    Ok(outcome.verdict().map_err(DemoError::Off)?)
}

/// Fetches everything, and kills the last provider when half is verified. Returns which one was killed.
async fn fetch(
    client: &Client,
    resolved: &Resolved,
    network: &mut Network,
    output: &Output,
) -> Result<(Report, Option<usize>), DemoError> {
    let mut options = FetchOptions::default();
    let total: u64 = resolved.manifest.artifacts.iter().map(|entry| entry.size).sum();
    // A small demo must not have everything asked for before the first half has arrived.
    let scheduler = &mut options.download.scheduler;
    scheduler.max_inflight = scheduler.max_inflight.min((total / 16).max(2 << 20));
    let fetch = client.fetch(resolved, options);
    let mut progress = fetch.progress();
    let half = progress.wait_for(|now| now.total > 0 && now.verified >= now.total / 2).await.is_some();
    // Otherwise the fetch has ended already, and says why below.
    let killed = if half { network.kill_last() } else { None };
    output.remark("half of it is verified: one provider is killed");
    Ok((fetch.finish().await?, killed))
}

/// Whether each file, read anew where it was published from, has the SHA-256 of what is in the client's store. Returns
/// how many were compared, or what differs.
async fn compare(chosen: &Chosen, resolved: &Resolved, store: Arc<dyn Store>) -> Result<usize, String> {
    let files = chosen.files.clone();
    let entries = resolved.manifest.artifacts.clone();
    let comparing = tokio::task::spawn_blocking(move || {
        entries.iter().try_for_each(|entry| {
            let source = files.iter().find(|file| file.name == entry.filename.as_str());
            compare_one(source, entry, store.as_ref()).map_err(|error| format!("{}: {error}", entry.filename))
        })?;
        Ok(entries.len())
    });
    comparing.await.unwrap_or_else(|error| Err(error.to_string()))
}

fn compare_one(source: Option<&files::Source>, entry: &ArtifactEntry, store: &dyn Store) -> Result<(), String> {
    let source = source.ok_or("was not published")?;
    let arrived = store.artifact(&entry.cid).map_err(|error| error.to_string())?.and_then(|artifact| artifact.path());
    let arrived = files::sha256(&arrived.ok_or("did not arrive")?).map_err(|error| error.to_string())?;
    let published = files::sha256(&source.path).map_err(|error| error.to_string())?;
    if published == arrived { Ok(()) } else { Err(format!("has SHA-256 {arrived} instead of {published}")) }
}
