//! A whole fetch, which `phase` and `phase-client` share: join the network, resolve the name, fetch the release, export
//! the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use phase_client::{
    Client, Fetch, FetchError, FetchOptions, Progress, Report, ResolveOptions, Resolved, Selection, Trust, export,
};
use phase_core::manifest::ArtifactEntry;
use phase_core::store::Store;
use phase_core::time::TrustedTime;
use phase_core::{Failure, Name};
use phase_node::{Multiaddr, NodeConfig, PeerId, Role};
use phase_transfer::download::DownloadError;
use phase_units::parse_duration;

use crate::exit::exit_code;
use crate::fault::Fault;
use crate::network::{SERVING, parse_address, read_root};
use crate::node::NodeArgs;
use crate::process::{Signals, now};
use crate::ram_profile::RamProfile;
use crate::upload::UploadArgs;

/// The interval between two calls of [`Observer::progressed`].
const TICK: Duration = Duration::from_millis(100);
/// The default listen addresses of a fetching node, on any free port. The node listens because it serves the chunks
/// that it has fetched.
const DEFAULT_LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// The options of a fetch.
#[derive(Clone, Debug, Args)]
pub struct FetchArgs {
    /// The name of the release, as channel/arch
    #[arg(value_name = "NAME")]
    pub name: Name,
    /// The trust root, which lists the keys that may sign this name
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
    /// Put the files into this folder under their own names (as links to the store where possible)
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Fetch only artifacts with this role or file name; repeatable
    #[arg(long, value_name = "ROLE|FILE")]
    pub only: Vec<String>,
    /// The options that say how the node finds peers.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Leave no trace: use a new identity, listen on no address, do not announce the program's version, and write
    /// nothing to disk except the files of --output
    #[arg(long, conflicts_with = "listen")]
    pub ephemeral: bool,
    /// Listen on this address, and serve fetched chunks to peers that connect; repeatable. Default: any free port
    #[arg(long, value_name = "ADDR", value_parser = parse_address, conflicts_with = "no_listen", help_heading = SERVING)]
    pub listen: Vec<Multiaddr>,
    /// Listen on no address, so that no other peer can connect to this node
    #[arg(long, help_heading = SERVING)]
    pub no_listen: bool,
    /// The options that limit the upload to other peers.
    #[command(flatten)]
    pub upload: UploadArgs,
    /// After the fetch, keep serving for this long or until a signal, so that other clients can fetch from this client.
    /// Default: exit at once
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true,
        conflicts_with_all = ["ephemeral", "no_listen"], help_heading = SERVING)]
    pub linger: Option<Duration>,
    /// Give up after this long without a valid chunk from any peer. Default: 60s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub give_up_after: Option<Duration>,
    /// How much memory the fetch may use
    #[arg(long, value_enum, default_value_t)]
    pub memory: RamProfile,
}

/// The result of a completed fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The release that the name resolved to.
    pub resolved: Resolved,
    /// The artifacts that `--only` selected, or all artifacts of the release.
    pub artifacts: Vec<ArtifactEntry>,
    /// The figures of the download, such as bytes and time, in total and for each peer.
    pub report: Report,
    /// The folder to which the files were exported, if `--output` was given.
    pub output: Option<PathBuf>,
}

/// An observer, which receives the events of a fetch. The methods are called in the order in which they are declared
/// here.
pub trait Observer {
    /// Called when the node has joined the network. `_peer` is the node's own peer id.
    fn started(&mut self, _peer: PeerId) {}

    /// Called when the name is resolved, before the download begins.
    fn resolved(&mut self, resolved: &Resolved);

    /// Called several times a second while the download runs.
    fn progressed(&mut self, progress: &Progress);

    /// Called when the download has ended, whether it succeeded or failed.
    fn ended(&mut self);

    /// Called if the download was given up because no valid chunk arrived. `report` has the figures up to that time.
    fn failed(&mut self, report: &Report);

    /// Called when every artifact is fetched and, with `--output`, exported. With `--linger`, the node serves other
    /// peers after this call.
    ///
    /// # Errors
    /// If the result cannot be printed. The command then ends with this error.
    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault>;
}

/// Joins the network, resolves the name, fetches its release into `store` and exports the files. Afterwards, serves
/// other peers for the time of `--linger`. SIGINT or SIGTERM ends the call early.
///
/// # Errors
/// If a step fails, or if a signal arrives before the fetch is complete. The chunks that were verified before the error
/// stay in the store.
pub async fn fetch(store: Arc<dyn Store>, args: &FetchArgs, observer: &mut dyn Observer) -> Result<(), Fault> {
    let trust = Trust { root: read_root(&args.root)?, time: TrustedTime(now()) };
    let mut signals = Signals::new()?;
    let client = tokio::select! {
        client = start(store, args) => client?,
        () = signals.next() => return Err(nothing_fetched()),
    };
    observer.started(client.node().peer_id());
    let fetched = run(&client, &trust, args, &mut signals, observer).await;
    let ended = fetched.and_then(|fetched| observer.fetched(&fetched));
    if let (Ok(()), Some(linger)) = (&ended, args.linger) {
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = signals.next() => {}
        }
    }
    signals.exit_on_next();
    client.stop().await;
    ended
}

fn nothing_fetched() -> Fault {
    Fault::new(Failure::Interrupted, "interrupted before the download began")
}

async fn start(store: Arc<dyn Store>, args: &FetchArgs) -> Result<Client, Fault> {
    let listen = match (args.no_listen || args.ephemeral, args.listen.is_empty()) {
        (true, _) => Vec::new(),
        (false, false) => args.listen.clone(),
        (false, true) => DEFAULT_LISTEN.map(|text| text.parse().expect("the default addresses are valid")).into(),
    };
    let config = NodeConfig { listen, is_private: args.ephemeral, ..args.node.configure(Role::Client)? };
    Ok(Client::start_with(store, config, args.upload.configure()).await?)
}

async fn run(
    client: &Client,
    trust: &Trust,
    args: &FetchArgs,
    signals: &mut Signals,
    observer: &mut dyn Observer,
) -> Result<Fetched, Fault> {
    let resolved = tokio::select! {
        resolved = client.resolve(&args.name, trust, ResolveOptions::default()) => resolved?,
        () = signals.next() => return Err(nothing_fetched()),
    };
    observer.resolved(&resolved);
    let selection = if args.only.is_empty() { Selection::All } else { Selection::Some(args.only.clone()) };
    let artifacts = selection.of(&resolved.manifest)?;
    let mut options = FetchOptions { selection, download: args.memory.config(), ..FetchOptions::default() };
    if let Some(patience) = args.give_up_after {
        options.download.give_up_after = patience;
    }
    let running = client.fetch(&resolved, options);
    let ended = watch(running, signals, observer).await;
    observer.ended();
    let report = ended.map_err(|error| explain(error, observer))?;
    if let Some(folder) = args.output.clone() {
        let (store, entries) = (client.catalog().store().clone(), artifacts.clone());
        let placed = tokio::task::spawn_blocking(move || export(store.as_ref(), &entries, &folder));
        let placed = tokio::select! {
            placed = placed => placed,
            // Exiting during an export is safe, because a file gets its final name only when it is complete.
            () = signals.next() => std::process::exit(exit_code(Failure::Interrupted).into()),
        };
        placed.map_err(|error| Fault::new(Failure::Other, format!("the export ended unexpectedly: {error}")))??;
    }
    Ok(Fetched { resolved, artifacts, report, output: args.output.clone() })
}

/// Reports progress to the observer until the fetch has ended. The first signal stops the fetch cleanly, and a second
/// signal ends the process at once.
async fn watch(fetch: Fetch, signals: &mut Signals, observer: &mut dyn Observer) -> Result<Report, FetchError> {
    let (progress, stop) = (fetch.progress(), fetch.stopper());
    let mut tick = tokio::time::interval(TICK);
    let ended = fetch.finish();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => {
                observer.progressed(&progress.latest());
                return ended;
            }
            () = signals.next() => {
                if stop.is_cancelled() {
                    std::process::exit(exit_code(Failure::Interrupted).into());
                }
                stop.cancel();
            }
            _ = tick.tick() => {
                observer.progressed(&progress.latest());
            }
        }
    }
}

/// Converts the error from a fetch. If the download was given up, first passes the report of the download to the
/// observer.
fn explain(error: FetchError, observer: &mut dyn Observer) -> Fault {
    if let FetchError::Download(DownloadError::Stalled { report, .. }) = &error {
        observer.failed(report);
    }
    error.into()
}
