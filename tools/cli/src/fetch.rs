//! A whole fetch, which `phase` and `phase-client` share: join the network, resolve the name, fetch the release, export
//! the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use phase_client::{
    Client, Fetch, FetchError, FetchOptions, Progress, Report, ResolveOptions, Resolved, Selection, Trust,
};
use phase_core::handover::{HandoverError, InPlaceStore, Mode, Output, Target};
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
use crate::process::{Printer, Signals, now};
use crate::ram_profile::RamProfile;
use crate::upload::UploadArgs;

/// The interval between two calls of [`Observer::progressed`].
const TICK: Duration = Duration::from_millis(100);
/// How often a release is fetched again because an artifact in the store is damaged. Each time concerns one artifact.
const MAX_ROUNDS: u32 = 3;
/// How far the download may get ahead of the first missing chunk if the artifact is written in order, in bytes. Chunks
/// that arrive early wait in RAM.
const MAX_AHEAD: u64 = 8 << 20;
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
    /// Hand the artifacts over to a folder, a block device, an existing file, or - (standard output)
    ///
    /// A folder gets the files under their own names. Every byte is hashed on its way out, and all files become visible
    /// together when they are complete: a new folder appears, an existing folder is exchanged (its other files stay), and
    /// a symbolic link to a folder is switched to a new folder. Block device, file and standard output take one artifact
    /// (see --only). A block device must not be mounted or in use; its old content is lost.
    #[arg(long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Write the only selected artifact to this file, which need not exist; it is replaced when the artifact is complete
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub output_file: Option<PathBuf>,
    /// Make the files of --output or --output-file hard links to the store instead of copies. They are read-only and must
    /// stay unchanged: a program that writes to them damages the store
    #[arg(long, conflicts_with = "ephemeral")]
    pub link: bool,
    /// Fetch only artifacts with this role or file name; repeatable
    #[arg(long, value_name = "ROLE|FILE")]
    pub only: Vec<String>,
    /// The options that say how the node finds peers.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Leave no trace: use a new identity, listen on no address, do not announce the program's version, and use no store:
    /// chunks are written where --output or --output-file says, so there is no second copy
    ///
    /// Without an output, the artifacts are verified in RAM and discarded. For a folder or a file, the files of an
    /// interrupted fetch stay in a hidden folder (.phase-…) beside the output or in it, and the same command continues
    /// with them.
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
    /// The target to which the artifacts were handed over, if there was one.
    pub output: Option<Target>,
}

impl Fetched {
    /// Returns the path of an artifact that was handed over. Standard output is `-`.
    pub fn path_of(&self, entry: &ArtifactEntry) -> Option<PathBuf> {
        match self.output.as_ref()? {
            Target::Folder(folder) => Some(folder.join(entry.filename.as_path())),
            Target::File(path) | Target::Device(path) => Some(path.clone()),
            Target::Stdout => Some(PathBuf::from("-")),
        }
    }
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

    /// Called when an artifact in the store is damaged. It is set aside, and the methods from
    /// [`progressed`](Self::progressed) on are called again while it is fetched again.
    fn damaged(&mut self, error: &HandoverError);

    /// Called if the download was given up because no valid chunk arrived. `report` has the figures up to that time.
    fn failed(&mut self, report: &Report);

    /// Called when every artifact is fetched and, with `--output`, exported. With `--linger`, the node serves other
    /// peers after this call.
    ///
    /// # Errors
    /// If the result cannot be printed. The command then ends with this error.
    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault>;
}

/// Joins the network, resolves the name, fetches its release and hands it over. Afterwards, serves other peers for the
/// time of `--linger`. SIGINT or SIGTERM ends the call early.
///
/// The release is fetched into `store`. With `--ephemeral`, which needs no store, it is fetched into the output.
///
/// # Errors
/// If a step fails, or if a signal arrives before the fetch is complete. The chunks that were verified before the error
/// stay in the store.
pub async fn fetch(store: Option<Arc<dyn Store>>, args: &FetchArgs, observer: &mut dyn Observer) -> Result<(), Fault> {
    let trust = Trust { root: read_root(&args.root)?, time: TrustedTime(now()) };
    let target = args.target()?;
    let in_place = store.is_none().then(InPlaceStore::new);
    let store = store.unwrap_or_else(|| Arc::new(in_place.clone().unwrap_or_default()));
    let mut signals = Signals::new()?;
    let client = tokio::select! {
        client = start(store, args) => client?,
        () = signals.next() => return Err(nothing_fetched()),
    };
    observer.started(client.node().peer_id());
    let work = Work { client: &client, args, target, in_place };
    let fetched = work.run(&trust, &mut signals, observer).await;
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

impl FetchArgs {
    /// Returns the target of `--output` or `--output-file`.
    fn target(&self) -> Result<Option<Target>, Fault> {
        match (&self.output, &self.output_file) {
            (Some(path), _) => Ok(Some(Target::at(path)?)),
            (None, Some(file)) => Ok(Some(Target::file_at(file)?)),
            (None, None) if self.link => {
                let message = "--link says how files are handed over, but there is no --output and no --output-file";
                Err(Fault::new(Failure::Usage, message))
            }
            (None, None) => Ok(None),
        }
    }

    /// Returns the printer for the results: standard error if the artifact goes to standard output.
    pub fn printer(&self) -> Printer {
        Printer::new(self.is_to_stdout())
    }

    fn is_to_stdout(&self) -> bool {
        self.output.as_ref().or(self.output_file.as_ref()).is_some_and(|path| path == Path::new("-"))
    }
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

/// The steps of a fetch after the client has started.
struct Work<'a> {
    client: &'a Client,
    args: &'a FetchArgs,
    target: Option<Target>,
    /// The store of the client if it keeps nothing but the output.
    in_place: Option<InPlaceStore>,
}

impl Work<'_> {
    async fn run(&self, trust: &Trust, signals: &mut Signals, observer: &mut dyn Observer) -> Result<Fetched, Fault> {
        let resolved = tokio::select! {
            resolved = self.client.resolve(&self.args.name, trust, ResolveOptions::default()) => resolved?,
            () = signals.next() => return Err(nothing_fetched()),
        };
        observer.resolved(&resolved);
        let selection = match self.args.only.as_slice() {
            [] => Selection::All,
            some => Selection::Some(some.to_vec()),
        };
        let artifacts = selection.of(&resolved.manifest)?;
        let output = self.prepare(&artifacts).await?;
        let options = self.options(selection, output.clone());
        let mut rounds = 0;
        let report = loop {
            let downloaded = self.download(&resolved, &options, signals, observer).await;
            let report = downloaded.inspect_err(|_| self.keep_progress(output.as_deref()))?;
            let Some(output) = &output else { break report };
            match self.hand_over(output, signals).await? {
                Ok(()) => break report,
                Err(HandoverError::Damaged { cid, .. }) if rounds == MAX_ROUNDS => {
                    let message =
                        format!("more than {MAX_ROUNDS} artifacts of the store were damaged, the last is {cid}");
                    return Err(Fault::new(Failure::Store, message)
                        .hint("check the disk of the store, and run `phase store repair`"));
                }
                Err(error) => {
                    let HandoverError::Damaged { cid, .. } = error else { return Err(error.into()) };
                    observer.damaged(&error);
                    let store = self.client.catalog().store().clone();
                    blocking(move || store.set_aside(&cid)).await??;
                    rounds += 1;
                }
            }
        };
        Ok(Fetched { resolved, artifacts, report, output: self.target.clone() })
    }

    /// Prepares the output before the download, so that everything that is wrong with it is an error now.
    async fn prepare(&self, artifacts: &[ArtifactEntry]) -> Result<Option<Arc<Output>>, Fault> {
        let Some(target) = self.target.clone() else { return Ok(None) };
        let (artifacts, resume) = (artifacts.to_vec(), self.in_place.is_some());
        let output = Arc::new(blocking(move || Output::prepare(&target, &artifacts, resume)).await??);
        if let Some(store) = &self.in_place {
            store.set_output(output.clone());
        }
        Ok(Some(output))
    }

    fn options(&self, selection: Selection, output: Option<Arc<Output>>) -> FetchOptions {
        let mut download = self.args.memory.config();
        if let Some(patience) = self.args.give_up_after {
            download.give_up_after = patience;
        }
        if self.in_place.is_some() && self.args.is_to_stdout() {
            download = download.in_order(MAX_AHEAD);
        }
        // The store of a fetch in place is the output, and links need no space.
        let output = output.filter(|_| self.in_place.is_none() && !self.args.link);
        FetchOptions { selection, download, output, ..FetchOptions::default() }
    }

    async fn download(
        &self,
        resolved: &Resolved,
        options: &FetchOptions,
        signals: &mut Signals,
        observer: &mut dyn Observer,
    ) -> Result<Report, Fault> {
        let running = self.client.fetch(resolved, options.clone());
        let ended = watch(running, signals, observer).await;
        observer.ended();
        ended.map_err(|error| explain(error, observer))
    }

    /// Keeps the verified chunks of a fetch in place, so that the same command continues with them.
    fn keep_progress(&self, output: Option<&Output>) {
        if let (Some(_), Some(output)) = (&self.in_place, output) {
            output.keep();
        }
    }

    /// Exports the artifacts, unless they were fetched in place, and makes them visible.
    async fn hand_over(&self, output: &Arc<Output>, signals: &mut Signals) -> Result<Result<(), HandoverError>, Fault> {
        let mode = if self.args.link { Mode::Link } else { Mode::Copy };
        if self.in_place.is_none() {
            let (store, work) = (self.client.catalog().store().clone(), output.clone());
            let exported = blocking(move || work.export(store.as_ref(), mode));
            let exported = tokio::select! {
                exported = exported => exported?,
                // Exiting is safe, because nothing is visible yet.
                () = signals.next() => {
                    output.discard();
                    std::process::exit(exit_code(Failure::Interrupted).into())
                }
            };
            if let Err(error) = exported {
                return Ok(Err(error));
            }
        }
        // This is not interrupted, so that all files become visible.
        let work = output.clone();
        blocking(move || work.commit()).await
    }
}

/// Runs work that blocks on a thread for such work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let failed = |error| Fault::new(Failure::Other, format!("a worker ended unexpectedly: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)
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
