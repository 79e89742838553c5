//! A soak: real nodes over loopback, under load and under all that goes wrong in a network, for as long as one likes. Nothing
//! may be lost, hang or pile up.
//!
//! ```text
//! Soak ──stages──► clients    fetch releases over and over, are interrupted, stall, come and go
//!   │              strangers  speak on raw streams: do not read, write half a frame, cancel, vanish
//!   │              trouble    cuts and freezes proxies, stops and kills providers
//!   │
//!   ├── Board   who does what, what has happened, who hangs
//!   └── Sample  tasks, descriptors, threads, memory at every quiet point
//! ```
//!
//! A quiet point is a pause of everybody: fetches are completed, streams and connections closed. What is then in use more than
//! at the first quiet point has leaked.
//!
//! The seed determines what everybody chooses to do. When it is done takes its course, so that no two runs are the same.

mod board;
mod clients;
mod depot;
mod error;
mod gauges;
mod network;
mod raw;
mod releases;
mod report;
mod stage;
mod store;
mod strangers;
mod tcp_proxy;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use board::{Actor, Board, Part};
use clients::{Market, Newcomer, Resident};
use depot::Depot;
use releases::Releases;
use stage::Stage;
use strangers::Stranger;
use tcp_proxy::TcpProxy;
use trouble::Proxies;

pub use board::Counts;
pub use error::SoakError;
pub use gauges::{MemoryTrend, QuietPoint, Sample};
pub use report::Report;

/// How long a thread for work that blocks is kept when there is none: less than a quiet point takes.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The first quiet point is there when nothing has become less for so long. Longer than anything that waits by itself, but for
/// the timeouts of QUIC, which a whole load has behind it.
const STEADY: Duration = Duration::from_secs(5);
/// How long to wait until everything is as it was at the first quiet point: a QUIC connection whose other end has vanished is
/// given up after 10 s, and a writer whose peer does not read after 30 s.
const SETTLE_LIMIT: Duration = Duration::from_secs(45);
/// Quiet points that even the shortest soak has: one to compare with, and one to compare.
const MIN_POINTS_OF_ANY: usize = 2;
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The time between two looks at who hangs, and two reports of how far it is.
const WATCH: Duration = Duration::from_millis(500);
/// Messages to whoever watches: more quiet points than a day has.
const MESSAGES: usize = 4096;

/// What a soak is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Determines what everybody chooses to do. Default: 0.
    pub seed: u64,
    /// How long it goes on once everybody has started, quiet points included, in real time. The last load is cut short, but for
    /// the first two. Default: 10 min.
    pub duration: Duration,
    /// How long the load before the first quiet point lasts. Default: 30 s.
    pub warm_up: Duration,
    /// How long every further load lasts. Default: 50 s, so that with the pause there is about one quiet point a minute.
    pub load: Duration,
    /// Providers. One at a time is down. Default: 3.
    pub providers: usize,
    /// Clients whose node lives for as long as the soak. Default: 4.
    pub residents: usize,
    /// Clients with a new node for every fetch. Default: 2.
    pub newcomers: usize,
    /// Peers on raw streams. Default: 4.
    pub strangers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            duration: Duration::from_secs(600),
            warm_up: Duration::from_secs(30),
            load: Duration::from_secs(50),
            providers: 3,
            residents: 4,
            newcomers: 2,
            strangers: 4,
        }
    }
}

/// What happens while it runs.
pub enum News<'a> {
    /// How far it is, in one line.
    Progress(&'a str),
    /// A quiet point.
    Quiet(&'a QuietPoint),
}

/// Runs a soak on a runtime of its own and watches it from outside: what hangs cannot say so. `tell` hears what is going on.
///
/// # Errors
/// [`SoakError`], if it does not begin.
pub fn run(config: &Config, tell: &mut dyn FnMut(News<'_>)) -> Result<Report, SoakError> {
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
        match messages.recv_timeout(WATCH) {
            Ok(Message::Quiet(point)) => {
                tell(News::Quiet(&point));
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
        tell(News::Progress(&progress(started, &board.counts())));
    }
    // What hangs is left behind.
    runtime.shutdown_background();
    report.counts = board.counts();
    report.wrongs = board.wrongs();
    report.seconds = started.elapsed().as_secs_f64();
    report.judge();
    Ok(report)
}

fn progress(started: Instant, counts: &Counts) -> String {
    let Counts { fetches, bytes, cancels, stalls, cuts, restarts, wrong, .. } = counts;
    let time = gauges::clock(started.elapsed().as_secs_f64());
    let mib = bytes >> 20;
    format!(
        "{time}  {fetches} fetches, {mib} MiB, {cancels} cancels, {stalls} stalls, {cuts} cuts, {restarts} restarts, {wrong} wrong"
    )
}

enum Message {
    Before(Sample),
    Quiet(QuietPoint),
    Ended(Result<Sample, SoakError>),
}

/// The course of things.
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

    /// From nothing to nothing; returns what is in use then.
    async fn run(mut self) -> Result<Sample, SoakError> {
        let before = Sample::take();
        let _ = self.messages.try_send(Message::Before(before));
        let own = self.actor("soak", Part::Other);
        let (depots, proxies, mut actors) = self.start(&own).await?;
        let (mut base, mut points) = (None, 0);
        let end = Instant::now() + self.config.duration;
        while points < MIN_POINTS_OF_ANY || Instant::now() < end {
            let load = match points {
                0 => self.config.warm_up,
                1 => self.config.load,
                _ => self.config.load.min(end - Instant::now()),
            };
            proxies.iter().flat_map(|proxies| proxies.iter()).for_each(TcpProxy::open);
            self.stage.send_replace(Stage::Load);
            own.begin("lets the others do");
            self.watch_over(&mut actors, load, &own).await?;
            self.stage.send_replace(Stage::Quiet);
            own.begin("waits until all pause");
            while !self.board.is_at_rest_but(&own) {
                tokio::time::sleep(LOOK).await;
            }
            proxies.iter().flat_map(|proxies| proxies.iter()).for_each(TcpProxy::close);
            own.begin("waits for what was in use to be given back");
            let sample = settle(base.as_ref()).await;
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
        for depot in depots {
            depot.stop(true).await;
        }
        drop(proxies);
        Ok(settle(Some(&before)).await)
    }

    /// Lets the load go on for so long.
    async fn watch_over(&self, actors: &mut JoinSet<()>, load: Duration, own: &Actor) -> Result<(), SoakError> {
        let end = Instant::now() + load;
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            own.moved();
            if let Some(ended) = actors.try_join_next() {
                ended.map_err(|_| SoakError::Panic)?;
            }
        }
        Ok(())
    }

    /// Publishes, starts everybody and lets the clients find their way once.
    async fn start(&mut self, own: &Actor) -> Result<(Vec<Arc<Depot>>, Proxies, JoinSet<()>), SoakError> {
        let (depots, releases) = self.publish().await?;
        own.moved();
        let market = Market { releases, depots: depots.clone() };
        let mut proxies = Vec::new();
        let (mut actors, mut residents) = (JoinSet::new(), Vec::new());
        for number in 0..self.config.residents {
            let own_proxies = self.proxies(&depots).await?;
            let actor = self.actor(&format!("client {number}"), Part::Client);
            let resident = Resident::start(market.clone(), &own_proxies, actor, self.random.fork()).await?;
            proxies.push(own_proxies);
            residents.push(resident.node());
            actors.spawn(resident.run());
            own.moved();
        }
        for number in 0..self.config.newcomers {
            let own_proxies = self.proxies(&depots).await?;
            proxies.push(own_proxies.clone());
            let (folder, market) = (self.folder.join(format!("newcomer-{number}")), market.clone());
            let actor = self.actor(&format!("newcomer {number}"), Part::Client);
            let random = self.random.fork();
            actors.spawn(Newcomer { market, proxies: own_proxies, folder, actor, random }.run());
        }
        for number in 0..self.config.strangers {
            let (market, residents) = (market.clone(), residents.clone());
            let actor = self.actor(&format!("stranger {number}"), Part::Other);
            let random = self.random.fork();
            actors.spawn(Stranger { market, residents, actor, random }.run());
        }
        actors.spawn(trouble::cut(proxies.clone(), self.actor("cutter", Part::Other), self.random.fork()));
        actors.spawn(trouble::freeze(proxies.clone(), self.actor("freezer", Part::Other), self.random.fork()));
        actors.spawn(trouble::restart(depots.clone(), self.actor("operator", Part::Other), self.random.fork()));
        Ok((depots, proxies, actors))
    }

    async fn publish(&mut self) -> Result<(Vec<Arc<Depot>>, Arc<Releases>), SoakError> {
        let stores: Vec<_> = (0..self.config.providers).map(|n| self.folder.join(format!("provider-{n}"))).collect();
        let (seed, targets) = (self.random.u64(..), stores.clone());
        let published = tokio::task::spawn_blocking(move || publish(seed, &targets));
        let releases = Arc::new(published.await.map_err(|_| SoakError::Panic)??);
        let mut depots = Vec::new();
        for store in stores {
            depots.push(Depot::start(store, &releases).await?);
        }
        Ok((depots, releases))
    }

    /// A proxy to each provider.
    async fn proxies(&self, depots: &[Arc<Depot>]) -> Result<Arc<Vec<TcpProxy>>, SoakError> {
        let mut proxies = Vec::new();
        for depot in depots {
            proxies.push(TcpProxy::start(depot.tcp(), self.board.clone()).await.map_err(SoakError::Network)?);
        }
        Ok(Arc::new(proxies))
    }

    fn actor(&self, name: &str, part: Part) -> Actor {
        self.board.actor(name.to_owned(), part, self.stage.subscribe())
    }
}

fn publish(seed: u64, stores: &[PathBuf]) -> Result<Releases, SoakError> {
    let releases = Releases::publish_first(seed, stores.first().map_or(Path::new(""), PathBuf::as_path))?;
    stores.iter().skip(1).try_for_each(|store| releases.publish(store))?;
    Ok(releases)
}

/// Waits until no more is in use than in `base`, or hardly more and nothing becomes less; without one, until nothing does. What passes is over in some of
/// the looks, what has leaked in none: so the least of all counts.
async fn settle(base: Option<&Sample>) -> Sample {
    let started = Instant::now();
    let (mut least, mut less_at) = (Sample::take(), started);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Sample::take();
        let lower = least.least(&now);
        if (Sample { resident: least.resident, ..lower }) != least {
            less_at = Instant::now();
        }
        least = lower;
        let is_steady = less_at.elapsed() >= STEADY;
        let is_settled = match base {
            Some(base) => least.is_at_most(base) || is_steady && least.beyond(base).is_empty(),
            None => is_steady,
        };
        if is_settled || started.elapsed() >= SETTLE_LIMIT {
            return least;
        }
    }
}
