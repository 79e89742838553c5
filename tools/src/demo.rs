//! `phase demo`: runs a whole network on one machine. It consists of a bootstrap node, three providers and a client,
//! each with its own identity, store and sockets. One provider is killed when half of the bytes are fetched.

mod files;
mod network;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, Bytes, EXIT_CODES, Fault, counted};
use phase_client::{Client, FetchOptions, Report, ResolveOptions, Resolved};
use phase_core::manifest::ArtifactEntry;
use phase_core::store::Store;
use phase_core::{Attempt, Fails, Failure};

use crate::output::Output;
use files::Chosen;
use network::Network;
use table::Outcome;

/// The number of providers that the demo starts. One of them is killed.
const PROVIDERS: usize = 3;
/// The demo publishes at most this many bytes.
const MAX_BYTES: u64 = 512 << 20;
/// The demo publishes at least this many bytes, because a smaller fetch could end before a provider is killed.
const MIN_BYTES: u64 = 16 << 20;
/// The timeout for one provider to announce all of its DHT keys.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(60);

const ABOUT: &str = "\
Examples:
  phase demo
  phase demo --path /usr/lib

The demo starts a bootstrap node, three providers and a client. It publishes files, resolves their name through the DHT,
fetches from all three providers at once, kills one provider halfway, and compares the fetched files with the published
ones. It removes its files afterwards, and sends nothing to other machines.";

#[derive(clap::Args)]
#[command(after_help = ABOUT, after_long_help = format!("{ABOUT}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Publish the files in this folder (at least 16 MiB) instead of files of this machine's system
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Put the stores into this folder while the demo runs. Default: the folder for temporary files
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// An error from running the demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Files(#[from] files::FilesError),
    #[error("cannot start the demo's network")]
    Network(#[from] network::NetworkError),
    #[error("cannot resolve the published release")]
    Resolve(#[from] phase_client::ResolveError),
    #[error("the fetch failed")]
    Fetch(#[from] phase_client::FetchError),
    #[error("the demo failed: {0}")]
    Unexpected(String),
}

impl Fails for DemoError {
    fn failure(&self) -> Failure {
        match self {
            Self::Files(_) => Failure::Input,
            Self::Network(_) | Self::Unexpected(_) => Failure::Other,
            Self::Resolve(error) => error.failure(),
            Self::Fetch(error) => error.failure(),
        }
    }

    fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::Network(network::NetworkError::Client(error)) => error.attempts(),
            Self::Resolve(error) => error.attempts(),
            Self::Fetch(error) => error.attempts(),
            _ => Vec::new(),
        }
    }
}

/// Runs the demo. Fails if a published file was not fetched correctly, or a provider was not used as planned.
pub(crate) fn run(args: Args, output: &Output) -> Result<(), Fault> {
    crate::network::ask(show(args, output))
}

async fn show(args: Args, output: &Output) -> Result<(), Fault> {
    let chosen = files::choose(args.path.as_deref(), MAX_BYTES, MIN_BYTES).map_err(DemoError::from)?;
    let files = counted(chosen.files.len(), "file", "files");
    output.remark(&format!("publishing {files}, {}", Bytes(chosen.bytes)));
    let began = crate::progress::now();
    let mut network = Network::start(args.work_dir.as_deref(), PROVIDERS, &chosen).await.map_err(DemoError::from)?;
    let time = cli::seconds((crate::progress::now() - began).as_secs_f64());
    output.remark(&format!("published in {PROVIDERS} stores, each with its own provider, in {time}"));
    network.announced(ANNOUNCE_TIMEOUT).await.map_err(DemoError::from)?;
    let client = network.client().await.map_err(DemoError::from)?;
    let options = ResolveOptions { answers: PROVIDERS, ..ResolveOptions::default() };
    let resolved = client.resolve(&network.name, &network.trust, options).await.map_err(DemoError::from)?;
    let time = cli::seconds(resolved.elapsed.as_secs_f64());
    let valid = resolved.answers.iter().filter(|answer| answer.result.is_ok()).count();
    let answers = counted(valid, "valid answer", "valid answers");
    output.remark(&format!("resolved {} through the DHT in {time}, {answers}", resolved.name));
    let (report, killed) = fetch(&client, &resolved, &mut network, output).await?;
    let compared = compare(&chosen, &resolved, client.catalog().store().clone()).await;
    client.stop().await;
    let peers = network.peer_ids().to_vec();
    network.stop().await;
    let outcome = Outcome { resolved: &resolved, report: &report, peers: &peers, killed, compared };
    output.result(|| outcome.json(), || outcome.table())?;
    Ok(outcome.verdict().map_err(DemoError::Unexpected)?)
}

/// Fetches every artifact, and kills the last provider when half of the bytes are verified. Returns the position of the
/// killed provider in the list of providers, or `None` if the fetch ended first.
async fn fetch(
    client: &Client,
    resolved: &Resolved,
    network: &mut Network,
    output: &Output,
) -> Result<(Report, Option<usize>), DemoError> {
    let mut options = FetchOptions::default();
    let total: u64 = resolved.manifest.artifacts.iter().map(|entry| entry.size).sum();
    // Limit the inflight bytes, so that a small demo has not requested every chunk before the first half has arrived.
    let scheduler = &mut options.download.scheduler;
    scheduler.max_inflight = scheduler.max_inflight.min((total / 16).max(2 << 20));
    let fetch = client.fetch(resolved, options);
    let mut progress = fetch.progress();
    let half = progress.wait_for(|now| now.total > 0 && now.verified >= now.total / 2).await.is_some();
    // If the fetch ended before half of the bytes were verified, `finish` below returns its result.
    let killed = if half { network.kill_last() } else { None };
    output.remark("half of the bytes are verified: killing one provider");
    Ok((fetch.finish().await?, killed))
}

/// Compares the SHA-256 of each published file with the SHA-256 of the artifact in the client's store. Reads both files
/// again. Returns the number of compared files, or a message about the first difference.
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
    let arrived = files::sha256(&arrived.ok_or("was not fetched")?).map_err(|error| error.to_string())?;
    let published = files::sha256(&source.path).map_err(|error| error.to_string())?;
    if published == arrived { Ok(()) } else { Err(format!("has SHA-256 {arrived} instead of {published}")) }
}
