//! A whole fetch as the command lines offer it: join the network, resolve, fetch, put the files where they are wanted.

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
use crate::network::read_root;
use crate::node::NodeArgs;
use crate::process::{Signals, now};
use crate::ram_profile::RamProfile;
use crate::upload::UploadArgs;

/// How often an observer is told about progress.
const TICK: Duration = Duration::from_millis(100);
/// Where a fetching node serves what it has: any free port.
const DEFAULT_LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// What to fetch and how.
#[derive(Clone, Debug, Args)]
pub struct FetchArgs {
    /// What to fetch, as channel/arch
    #[arg(value_name = "NAME")]
    pub name: Name,
    /// The trust root: who may sign this name
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
    /// Put the files into this folder under their own names (links to the store where possible)
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Fetch only artifacts of this role or file name; repeatable
    #[arg(long, value_name = "ROLE|FILE")]
    pub only: Vec<String>,
    /// How peers are found.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Leave no trace: a new identity, no listen addresses, nothing said about the program, and nothing written to disk but
    /// what --output asks for
    #[arg(long, conflicts_with = "listen")]
    pub ephemeral: bool,
    /// Serve to others what has been fetched so far, on this address; repeatable. Default: any free port
    #[arg(long, value_name = "ADDR", conflicts_with = "no_listen")]
    pub listen: Vec<Multiaddr>,
    /// Only take, serve nothing
    #[arg(long)]
    pub no_listen: bool,
    /// What others are sent.
    #[command(flatten)]
    pub upload: UploadArgs,
    /// After the fetch, go on serving for this long, or until a signal: in a crowd, whoever leaves at once helps nobody.
    /// Default: not at all
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with_all = ["ephemeral", "no_listen"])]
    pub linger: Option<Duration>,
    /// Give up when no peer has delivered anything right for this long. Default: 60s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub give_up_after: Option<Duration>,
    /// How much memory the fetch may take
    #[arg(long, value_enum, default_value_t)]
    pub memory: RamProfile,
}

/// A fetch that is done.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The release.
    pub resolved: Resolved,
    /// Those of its artifacts that were wanted.
    pub artifacts: Vec<ArtifactEntry>,
    /// What the download did.
    pub report: Report,
    /// The folder that has the files now, if one was asked for.
    pub output: Option<PathBuf>,
}

/// Is told how a fetch goes.
pub trait Observer {
    /// The node has somebody to ask; this is its own name.
    fn started(&mut self, _peer: PeerId) {}

    /// The name is resolved; the download begins.
    fn resolved(&mut self, resolved: &Resolved);

    /// How far the download is, several times a second.
    fn progressed(&mut self, progress: &Progress);

    /// The download is over.
    fn ended(&mut self);

    /// It failed after it had begun; this is what was fetched until then.
    fn failed(&mut self, report: &Report);

    /// All is where it is wanted. Others may be served for a while from now on.
    ///
    /// # Errors
    /// If the result cannot be told, which ends the command.
    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault>;
}

/// Resolves and fetches into `store`, until done or stopped by SIGINT or SIGTERM; then serves for as long as it is to linger.
///
/// # Errors
/// Whatever stops it. What was verified until then is in the store.
pub async fn fetch(store: Arc<dyn Store>, args: &FetchArgs, observer: &mut dyn Observer) -> Result<(), Fault> {
    let trust = Trust { root: read_root(&args.root)?, time: TrustedTime(now()) };
    let mut signals = Signals::new()?;
    let client = tokio::select! {
        client = start(store, args) => client?,
        () = signals.next() => return Err(nothing_fetched()),
    };
    observer.started(client.node().peer_id());
    let fetched = run(&client, &trust, args, &mut signals, observer).await;
    let told = fetched.and_then(|fetched| observer.fetched(&fetched));
    if let (Ok(()), Some(linger)) = (&told, args.linger) {
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = signals.next() => {}
        }
    }
    signals.exit_on_next();
    client.stop().await;
    told
}

fn nothing_fetched() -> Fault {
    Fault::new(Failure::Interrupted, "interrupted before anything was fetched")
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
    let mut options = FetchOptions { selection, download: args.memory.config() };
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
            // Whole files only take a name when they are there: nothing has to be cleaned up.
            () = signals.next() => std::process::exit(exit_code(Failure::Interrupted).into()),
        };
        placed.map_err(|error| Fault::new(Failure::Other, format!("a worker failed: {error}")))??;
    }
    Ok(Fetched { resolved, artifacts, report, output: args.output.clone() })
}

/// Tells the observer until the fetch has ended; a signal stops it cleanly, a second one at once.
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

fn explain(error: FetchError, observer: &mut dyn Observer) -> Fault {
    if let FetchError::Download(DownloadError::Stalled { report, .. }) = &error {
        observer.failed(report);
    }
    error.into()
}
