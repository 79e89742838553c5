//! A soak: real nodes over loopback, under load and under the faults of a real network, for any length of time. The
//! soak fails if fetched bytes are wrong, an actor hangs, or a resource leaks.
//!
//! ```text
//! Soak ──stages──► clients    fetch releases repeatedly, are interrupted, stall, start and leave
//!   │              raw_peers  use raw streams: do not read, write half a frame, cancel, vanish
//!   │              faults     cut and freeze proxies, stop and kill providers
//!   │
//!   ├── Board   the current work of each actor, and all counts; detects actors that hang
//!   └── Sample  tasks, descriptors, threads and memory at every quiet point
//! ```
//!
//! An actor is a task that works for the soak: a client, a raw peer, or a task that causes faults. Loads, in which all
//! actors work, alternate with [quiet points](QuietPoint). At a quiet point all actors pause: fetches are complete, and
//! all streams and connections are closed. If more resources are in use than at the first quiet point, the difference
//! has leaked.
//!
//! The RNG seed determines what each actor chooses to do. The timing is real, so no two runs are the same.

mod board;
mod clients;
mod error;
mod faults;
mod gauges;
mod network;
mod provider;
mod raw_peers;
mod raw_stream;
mod releases;
mod report;
mod stage;
mod store;
mod tcp_proxy;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use board::{Actor, Board, Part};
use clients::{LongLivedClient, Setup, ShortLivedClient};
use faults::Proxies;
use provider::RestartableProvider;
use raw_peers::RawPeer;
use releases::Releases;
use stage::Stage;
use tcp_proxy::TcpProxy;

pub use board::Counts;
pub use error::SoakError;
pub use gauges::{MemoryTrend, QuietPoint, Sample};
pub use report::Report;

/// The time after which an idle thread for blocking work exits. It is shorter than [`STEADY`], so that idle threads
/// exit during a [quiet point](QuietPoint).
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The counts of resources are steady if none of them has fallen for this time. It is longer than the timers of an idle
/// node. Only the timeouts of QUIC are longer, but they expire during the load.
const STEADY: Duration = Duration::from_secs(5);
/// The longest wait at a [quiet point](QuietPoint) until the resources of the load are released. A QUIC connection to a
/// vanished peer is closed after 10 s, and a write to a peer that does not read fails after 30 s.
const RELEASE_LIMIT: Duration = Duration::from_secs(45);
/// The least number of [quiet points](QuietPoint) of a soak: the baseline, and one that is compared with it.
const MIN_QUIET_POINTS: usize = 2;
/// The time between two checks of a condition.
const POLL: Duration = Duration::from_millis(100);
/// The longest time between two checks for actors that hang, and between two progress texts.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// The capacity of the channel to the watching thread. A soak of a whole day sends fewer messages than this.
const MESSAGES: usize = 4096;

/// The configuration of a soak.
#[derive(Clone, Debug)]
pub struct Config {
    /// The RNG seed, which determines what each actor chooses to do. Default: 0.
    pub seed: u64,
    /// The duration of the soak after all actors have started, including quiet points. The last load is shortened so
    /// that the soak ends in time. The first two loads are never shortened. Default: 10 min.
    pub duration: Duration,
    /// The duration of the load before the first quiet point. Default: 30 s.
    pub warm_up: Duration,
    /// The duration of every later load. Default: 50 s, so that there is about one quiet point per minute.
    pub load: Duration,
    /// The number of providers. At most one of them is stopped at a time. Default: 3.
    pub providers: usize,
    /// The number of clients that keep one node for the whole soak. Default: 4.
    pub long_lived_clients: usize,
    /// The number of clients that start a new node for every fetch. Default: 2.
    pub short_lived_clients: usize,
    /// The number of raw peers, which write their own bytes to streams. Default: 4.
    pub raw_peers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            duration: Duration::from_secs(600),
            warm_up: Duration::from_secs(30),
            load: Duration::from_secs(50),
            providers: 3,
            long_lived_clients: 4,
            short_lived_clients: 2,
            raw_peers: 4,
        }
    }
}

/// An event that a running soak reports.
pub enum SoakEvent<'a> {
    /// A progress text of one line.
    Progress(&'a str),
    /// A quiet point was reached.
    Quiet(&'a QuietPoint),
}

/// Runs a soak on its own tokio runtime. Watches the soak from the calling thread, which still works if the whole
/// runtime hangs. Calls `report_event` with progress and quiet points.
///
/// # Errors
/// [`SoakError`] if the soak cannot start, or one of its tasks panics.
pub fn run(config: &Config, report_event: &mut dyn FnMut(SoakEvent<'_>)) -> Result<Report, SoakError> {
    let folder = tempfile::Builder::new().prefix("phase-soak-").tempdir().map_err(SoakError::Folder)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_keep_alive(THREAD_KEEP_ALIVE).build().map_err(SoakError::Network)?;
    let (sender, messages) = sync_channel(MESSAGES);
    let (board, started) = (Board::new(), Instant::now());
    let soak = Soak::new(config.clone(), folder.path().to_owned(), board.clone(), sender.clone(), started);
    runtime.spawn(async move {
        let ended = soak.run().await;
        let _ = sender.try_send(Message::Ended(ended));
    });
    let mut report = Report { seed: config.seed, ..Report::default() };
    loop {
        match messages.recv_timeout(WATCH_INTERVAL) {
            Ok(Message::Quiet(point)) => {
                report_event(SoakEvent::Quiet(&point));
                report.points.push(point);
            }
            Ok(Message::Before(sample)) => report.before = Some(sample),
            Ok(Message::Ended(ended)) => {
                report.after = Some(ended?);
                break;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(SoakError::Panic),
        }
        if let Some(hung) = board.hung(Instant::now()) {
            report.hung = hung;
            break;
        }
        report_event(SoakEvent::Progress(&progress(started, &board.counts())));
    }
    // This call does not wait for tasks, because they may hang.
    runtime.shutdown_background();
    report.counts = board.counts();
    report.wrongs = board.wrongs();
    report.seconds = started.elapsed().as_secs_f64();
    report.find_leaks();
    Ok(report)
}

fn progress(started: Instant, counts: &Counts) -> String {
    let Counts { fetches, bytes, cancels, stalls, cuts, restarts, wrong, .. } = counts;
    let time = gauges::clock(started.elapsed().as_secs_f64());
    let mib = bytes >> 20;
    format!(
        "{time}  fetches {fetches}, MiB {mib}, cancels {cancels}, stalls {stalls}, cuts {cuts}, restarts {restarts}, \
         failures {wrong}"
    )
}

enum Message {
    Before(Sample),
    Quiet(QuietPoint),
    Ended(Result<Sample, SoakError>),
}

/// Runs the stages of a soak, and collects the quiet points.
struct Soak {
    config: Config,
    folder: PathBuf,
    board: Arc<Board>,
    messages: SyncSender<Message>,
    started: Instant,
    stage: watch::Sender<Stage>,
    random: fastrand::Rng,
}

impl Soak {
    fn new(
        config: Config,
        folder: PathBuf,
        board: Arc<Board>,
        messages: SyncSender<Message>,
        started: Instant,
    ) -> Self {
        let random = fastrand::Rng::with_seed(config.seed);
        Self { config, folder, board, messages, started, stage: watch::Sender::new(Stage::Quiet), random }
    }

    /// Runs the soak from start to end. Returns the resources that are in use after all actors and nodes were stopped.
    async fn run(mut self) -> Result<Sample, SoakError> {
        let before = Sample::take();
        let _ = self.messages.try_send(Message::Before(before));
        let own = self.actor("soak", Part::Other);
        let (providers, proxies, mut actors) = self.start(&own).await?;
        let (mut base, mut points) = (None, 0);
        let end = Instant::now() + self.config.duration;
        while points < MIN_QUIET_POINTS || Instant::now() < end {
            let load = match points {
                0 => self.config.warm_up,
                1 => self.config.load,
                _ => self.config.load.min(end - Instant::now()),
            };
            proxies.iter().flat_map(|proxies| proxies.iter()).for_each(TcpProxy::open);
            self.stage.send_replace(Stage::Load);
            own.begin("waits while there is load");
            self.let_run(&mut actors, load, &own).await?;
            self.stage.send_replace(Stage::Quiet);
            own.begin("waits until all actors pause");
            while !self.board.all_wait_except(&own) {
                tokio::time::sleep(POLL).await;
            }
            proxies.iter().flat_map(|proxies| proxies.iter()).for_each(TcpProxy::close);
            own.begin("waits until resources are released");
            let sample = wait_for_release(base.as_ref()).await;
            base.get_or_insert(sample);
            let point =
                QuietPoint { seconds: self.started.elapsed().as_secs_f64(), counts: self.board.counts(), sample };
            let _ = self.messages.try_send(Message::Quiet(point));
            points += 1;
        }
        own.begin("stops everything");
        self.stage.send_replace(Stage::End);
        while let Some(ended) = actors.join_next().await {
            ended.map_err(|_| SoakError::Panic)?;
        }
        for provider in providers {
            provider.stop(true).await;
        }
        drop(proxies);
        Ok(wait_for_release(Some(&before)).await)
    }

    /// Waits for the duration `load` while the actors work. Returns an error if an actor panics.
    async fn let_run(&self, actors: &mut JoinSet<()>, load: Duration, own: &Actor) -> Result<(), SoakError> {
        let end = Instant::now() + load;
        while Instant::now() < end {
            tokio::time::sleep(POLL).await;
            own.note_progress();
            if let Some(ended) = actors.try_join_next() {
                ended.map_err(|_| SoakError::Panic)?;
            }
        }
        Ok(())
    }

    /// Publishes the releases, and starts the providers, proxies and actors. Waits until each long-lived client has
    /// fetched every release once.
    async fn start(&mut self, own: &Actor) -> Result<(Vec<Arc<RestartableProvider>>, Proxies, JoinSet<()>), SoakError> {
        let (providers, releases) = self.publish().await?;
        own.note_progress();
        let setup = Setup { releases, providers: providers.clone() };
        let mut proxies = Vec::new();
        let (mut actors, mut long_lived) = (JoinSet::new(), Vec::new());
        for number in 0..self.config.long_lived_clients {
            let own_proxies = self.proxies(&providers).await?;
            let actor = self.actor(&format!("long-lived client {number}"), Part::Client);
            let client = LongLivedClient::start(setup.clone(), &own_proxies, actor, self.random.fork()).await?;
            proxies.push(own_proxies);
            long_lived.push(client.node());
            actors.spawn(client.run());
            own.note_progress();
        }
        for number in 0..self.config.short_lived_clients {
            let own_proxies = self.proxies(&providers).await?;
            proxies.push(own_proxies.clone());
            let (folder, setup) = (self.folder.join(format!("client-{number}")), setup.clone());
            let actor = self.actor(&format!("short-lived client {number}"), Part::Client);
            let random = self.random.fork();
            actors.spawn(ShortLivedClient { setup, proxies: own_proxies, folder, actor, random }.run());
        }
        for number in 0..self.config.raw_peers {
            let (setup, clients) = (setup.clone(), long_lived.clone());
            let actor = self.actor(&format!("raw peer {number}"), Part::Other);
            let random = self.random.fork();
            actors.spawn(RawPeer { setup, clients, actor, random }.run());
        }
        actors.spawn(faults::cut(proxies.clone(), self.actor("proxy cutter", Part::Other), self.random.fork()));
        actors.spawn(faults::freeze(proxies.clone(), self.actor("proxy freezer", Part::Other), self.random.fork()));
        let restarter = self.actor("provider restarter", Part::Other);
        actors.spawn(faults::restart(providers.clone(), restarter, self.random.fork()));
        Ok((providers, proxies, actors))
    }

    async fn publish(&mut self) -> Result<(Vec<Arc<RestartableProvider>>, Arc<Releases>), SoakError> {
        let stores: Vec<_> = (0..self.config.providers).map(|n| self.folder.join(format!("provider-{n}"))).collect();
        let (rng_seed, targets) = (self.random.u64(..), stores.clone());
        let published = tokio::task::spawn_blocking(move || publish(rng_seed, &targets));
        let releases = Arc::new(published.await.map_err(|_| SoakError::Panic)??);
        let mut providers = Vec::new();
        for store in stores {
            providers.push(RestartableProvider::start(store, &releases).await?);
        }
        Ok((providers, releases))
    }

    /// Starts one proxy to each provider, for one client.
    async fn proxies(&self, providers: &[Arc<RestartableProvider>]) -> Result<Arc<Vec<TcpProxy>>, SoakError> {
        let mut proxies = Vec::new();
        for provider in providers {
            proxies.push(TcpProxy::start(provider.tcp(), self.board.clone()).await.map_err(SoakError::Network)?);
        }
        Ok(Arc::new(proxies))
    }

    fn actor(&self, name: &str, part: Part) -> Actor {
        self.board.actor(name.to_owned(), part, self.stage.subscribe())
    }
}

fn publish(rng_seed: u64, stores: &[PathBuf]) -> Result<Releases, SoakError> {
    let releases = Releases::publish_first(rng_seed, stores.first().map_or(Path::new(""), PathBuf::as_path))?;
    stores.iter().skip(1).try_for_each(|store| releases.publish(store))?;
    Ok(releases)
}

/// Waits until the resources of the load are released, for at most [`RELEASE_LIMIT`]. Returns the lowest count of each
/// resource over all samples, because a leak is in every sample and short-lived use is missing from some samples.
///
/// Without a baseline, the resources are released when no count has fallen for [`STEADY`]. With the baseline `base`,
/// they are released when one of two conditions holds:
///
/// - No count exceeds the baseline.
/// - No count exceeds the baseline by more than the slack, and no count has fallen for [`STEADY`].
async fn wait_for_release(base: Option<&Sample>) -> Sample {
    let started = Instant::now();
    let (mut least, mut fell_at) = (Sample::take(), started);
    loop {
        tokio::time::sleep(POLL).await;
        let now = Sample::take();
        let lower = least.least(&now);
        if (Sample { resident: least.resident, ..lower }) != least {
            fell_at = Instant::now();
        }
        least = lower;
        let is_steady = fell_at.elapsed() >= STEADY;
        let is_released = match base {
            Some(base) => least.is_at_most(base) || is_steady && least.beyond(base).is_empty(),
            None => is_steady,
        };
        if is_released || started.elapsed() >= RELEASE_LIMIT {
            return least;
        }
    }
}
