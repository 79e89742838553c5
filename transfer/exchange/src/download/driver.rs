//! The loop around the scheduler: carries out the scheduler's actions, passes events to it, and sleeps until its next
//! timeout.

use std::sync::Arc;

use libp2p::PeerId;
use phase_core::store::StoreError;
use phase_core::{ChunkIndex, ChunkRange};
use phase_protocol::scheduler::{Action, Arrival, ArtifactSlot, ChunkResult, End, Event, Scheduler};
use phase_protocol::{HaveUpdate, PeerKey, RequestId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::buffers::Buffer;
use crate::catalog::Catalog;
use crate::download::aliases::Aliases;
use crate::download::artifacts::Artifacts;
use crate::download::config::Config;
use crate::download::error::DownloadError;
use crate::download::inputs::Inputs;
use crate::download::jobs::{self, Begun, Known, Opened, Outcome, Received, Written};
use crate::download::peer_links::PeerLinks;
use crate::download::report::{Progress, Report, Verdict};
use crate::link::{LinkError, LinkEvent, PeerLink};

/// At most this many link events are taken from the queue at a time. One job hashes the chunks of these events and
/// writes adjacent chunks together.
const BATCH: usize = 8;
/// The limit on jobs that hash and write at a time. With two jobs, one job can hash while the other one writes. More
/// jobs would only wait for each other, because only one job at a time can write to a file.
const MAX_WRITERS: usize = 2;
/// While this many jobs open or finish artifacts, no further artifacts are opened.
const MAX_OPENERS: usize = 16;

/// Fetches the wanted artifacts into the store.
///
/// # Errors
/// Any [`DownloadError`]. Chunks that were verified before the error are on disk and will not be fetched again.
pub async fn run(inputs: Inputs, config: Config) -> Result<Report, DownloadError> {
    Driver::new(inputs, config).run().await
}

/// The state of a running download.
struct Driver {
    catalog: Arc<Catalog>,
    config: Config,
    artifacts: Artifacts,
    /// The locations of wanted chunks in other artifacts of the store.
    known: Arc<Known>,
    scheduler: Scheduler,
    peers: PeerLinks,
    aliases: Aliases,
    links: mpsc::Receiver<Arc<PeerLink>>,
    links_open: bool,
    events: mpsc::Receiver<(PeerId, LinkEvent)>,
    events_open: bool,
    jobs: JoinSet<Outcome>,
    writers: usize,
    openers: usize,
    checkpointing: bool,
    /// The last time at which a chunk was verified, or a job that opens or finishes artifacts ended.
    last_progress: Instant,
    started: Instant,
    progress: watch::Sender<Progress>,
    report: Report,
    stop: CancellationToken,
}

impl Driver {
    fn new(inputs: Inputs, config: Config) -> Self {
        let Inputs { catalog, mut wanted, links, events, progress, stop } = inputs;
        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let policy = config.order.policy(seed);
        if !policy.is_ordered() {
            // The artifacts are shuffled, because only the first of them are opened at the start. So clients that start
            // together begin with different artifacts.
            fastrand::Rng::with_seed(seed).shuffle(&mut wanted);
        }
        wanted.sort_by_key(|wanted| wanted.priority);
        let total = wanted.iter().map(|wanted| wanted.index.size()).sum();
        progress.send_modify(|p| {
            p.total = total;
            p.artifacts = wanted.len() as u64;
        });
        Self {
            artifacts: Artifacts::new(catalog.clone(), wanted),
            catalog,
            known: Arc::default(),
            scheduler: Scheduler::with_policy(config.scheduler.clone(), seed, policy),
            config,
            peers: PeerLinks::default(),
            aliases: Aliases::default(),
            links,
            links_open: true,
            events: events.0,
            events_open: true,
            jobs: JoinSet::new(),
            writers: 0,
            openers: 0,
            checkpointing: false,
            last_progress: Instant::now(),
            started: Instant::now(),
            progress,
            report: Report { total, ..Report::default() },
            stop,
        }
    }

    async fn run(mut self) -> Result<Report, DownloadError> {
        let result = self.run_loop().await;
        // After an error, the download is closed in the same way, so that the verified chunks survive a power cut.
        let (catalog, dirty, unfinished) =
            (self.catalog.clone(), self.artifacts.take_dirty(), self.artifacts.unfinished());
        let closed = tokio::task::spawn_blocking(move || jobs::close(&catalog, &dirty, &unfinished)).await;
        self.jobs.shutdown().await;
        closed.map_err(worker_failed)?;
        result.map(|()| self.final_report())
    }

    async fn run_loop(&mut self) -> Result<(), DownloadError> {
        let (catalog, digests) = (self.catalog.clone(), self.artifacts.digests());
        let survey = tokio::task::spawn_blocking(move || jobs::survey(&catalog, digests));
        self.known = Arc::new(survey.await.map_err(worker_failed)?);
        let mut checkpoint = tokio::time::interval(self.config.checkpoint);
        let mut batch = Vec::with_capacity(BATCH);
        let stop = self.stop.clone();
        loop {
            self.open_artifacts();
            self.drain();
            if self.artifacts.is_complete() {
                return Ok(());
            }
            let timer = self.timer();
            tokio::select! {
                link = self.links.recv(), if self.links_open => match link {
                    Some(link) => self.handle_link(link),
                    None => self.links_open = false,
                },
                taken = self.events.recv_many(&mut batch, BATCH), if self.writers < MAX_WRITERS && self.events_open => {
                    self.events_open = taken > 0;
                    self.handle_batch(&mut batch);
                }
                Some(outcome) = self.jobs.join_next() => {
                    self.handle_outcome(outcome.map_err(worker_failed)?)?;
                }
                _ = tokio::time::sleep_until(timer) => self.handle_timer()?,
                _ = checkpoint.tick() => {
                    self.begin_checkpoint();
                    self.resubscribe();
                }
                () = stop.cancelled() => return Err(DownloadError::Interrupted),
            }
        }
    }

    /// Carries out the actions of the scheduler and handles its events.
    fn drain(&mut self) {
        while let Some(action) = self.scheduler.poll_action(Instant::now().into_std()) {
            match action {
                Action::Request { id, peer, slot, ranges } => self.request(id, peer, slot, ranges),
                Action::Cancel { id, peer } => self.cancel(peer, id),
                Action::Drop { peer } => {
                    self.drop_peer(peer, Verdict::Lost("not needed: enough better peers are connected".to_owned()))
                }
                Action::Ban { peer, reason } => self.drop_peer(peer, Verdict::Banned(reason.to_string())),
            }
        }
        let mut finished = Vec::new();
        while let Some(event) = self.scheduler.poll_event() {
            match event {
                Event::Verified { .. } => self.last_progress = Instant::now(),
                Event::ArtifactComplete { slot } => finished.push(slot),
                Event::Stalled { peer, chunks } => {
                    tracing::info!(%peer, chunks, "peer stalled: its chunks go to other peers")
                }
                Event::Complete => {}
            }
        }
        self.finish(finished);
    }

    fn request(&mut self, id: RequestId, peer: PeerKey, slot: ArtifactSlot, ranges: Vec<ChunkRange>) {
        let wanted = self.artifacts.wanted(slot);
        let ranges = self.aliases.request(id, peer, slot, &wanted.index, ranges);
        let sent = self.peers.link(peer).map_or(Err(LinkError::Ended), |link| link.request(id, wanted.cid, ranges));
        if let Err(error) = sent {
            self.drop_peer(peer, Verdict::of(&error));
        }
    }

    /// Cancels a request. The peer still answers with `Done` or a refusal.
    fn cancel(&self, peer: PeerKey, id: RequestId) {
        if let Some(link) = self.peers.link(peer) {
            // Sending fails only if the peer does not read its requests or the link is closed. The event
            // `LinkEvent::Closed` reports a closed link.
            let _ = link.cancel(id);
        }
    }

    /// Starts jobs that open artifacts, up to the limits on jobs and on active artifacts.
    fn open_artifacts(&mut self) {
        while self.openers < MAX_OPENERS {
            let batch = self.artifacts.open_next(self.config.max_active, jobs::open_batch_len);
            if batch.is_empty() {
                return;
            }
            let (catalog, known) = (self.catalog.clone(), self.known.clone());
            self.openers += 1;
            self.jobs.spawn_blocking(move || jobs::open(&catalog, &batch, &known));
        }
    }

    fn handle_outcome(&mut self, outcome: Outcome) -> Result<(), DownloadError> {
        match outcome {
            Outcome::Opened(opened) => {
                self.openers -= 1;
                self.last_progress = Instant::now();
                for (slot, result) in opened {
                    self.handle_opened(slot, result?);
                }
            }
            Outcome::Written(chunks) => {
                self.writers -= 1;
                for chunk in chunks {
                    self.handle_written(chunk)?;
                }
            }
            Outcome::Checkpointed(result) => {
                self.checkpointing = false;
                result?;
            }
            Outcome::Finished(finished) => {
                self.openers -= 1;
                self.last_progress = Instant::now();
                for (slot, result) in finished {
                    result?;
                    self.complete_slot(slot);
                }
            }
        }
        Ok(())
    }

    fn handle_opened(&mut self, slot: ArtifactSlot, opened: Opened) {
        let wanted = self.artifacts.wanted(slot).clone();
        match opened {
            Opened::Whole => {
                let size = wanted.index.size();
                self.count_opened(size, size, 0);
                self.complete_slot(slot);
            }
            Opened::Part(Begun { partial, not_requested, stored, resumed, repeated }) => {
                self.count_opened(stored, resumed, repeated);
                if resumed > 0 {
                    tracing::info!(artifact = %wanted.cid, bytes = resumed, "resumed");
                }
                self.artifacts.begin(slot, partial);
                self.scheduler.handle_artifact(slot, wanted.index, &not_requested, wanted.priority);
                for key in self.peers.keys() {
                    self.subscribe(key, slot);
                }
            }
        }
    }

    /// Counts the bytes of an opened artifact that need not be fetched.
    fn count_opened(&mut self, stored: u64, resumed: u64, repeated: u64) {
        self.report.resumed += resumed;
        self.report.repeated += repeated;
        self.progress.send_modify(|p| {
            p.verified += stored;
            p.resumed += resumed;
            p.repeated += repeated;
        });
    }

    fn handle_link(&mut self, link: Arc<PeerLink>) {
        let (id, now) = (link.peer(), Instant::now());
        let report = self.report.peers.entry(id).or_default();
        if let Verdict::Banned(reason) = &report.verdict {
            link.close(&LinkError::Banned(reason.clone()));
            return;
        }
        if let Some(error) = link.closed() {
            report.verdict = Verdict::of(&error);
            return;
        }
        // The peer's previous link may be closed, with its `Closed` event still in the queue. So the state of the
        // previous link is checked here.
        if let Some(key) = self.peers.key_of(&id) {
            self.drop_if_closed(key);
        }
        let Some(key) = self.peers.insert(link, now) else { return };
        if let Some(report) = self.report.peers.get_mut(&id) {
            // A peer that was lost and came back counts as good again.
            report.verdict = Verdict::Good;
        }
        self.scheduler.handle_peer(now.into_std(), key);
        for slot in self.artifacts.active_slots() {
            self.subscribe(key, slot);
        }
        self.progress.send_modify(|p| p.peers = self.peers.len() as u64);
    }

    /// Subscribes to the have updates of a peer for an artifact. Retries later if the link has too many open requests.
    fn subscribe(&mut self, key: PeerKey, slot: ArtifactSlot) {
        let wanted = self.artifacts.wanted(slot);
        match self.peers.subscribe(key, slot, wanted.cid, wanted.index.len()) {
            Ok(()) => {}
            Err(LinkError::Backlog) => self.peers.note_have_ended(key, slot, Instant::now()),
            Err(error) => self.drop_peer(key, Verdict::of(&error)),
        }
    }

    fn handle_batch(&mut self, batch: &mut Vec<(PeerId, LinkEvent)>) {
        let mut chunks = Vec::new();
        for (peer, event) in batch.drain(..) {
            let Some(key) = self.peers.key_of(&peer) else { continue };
            match event {
                LinkEvent::Chunk { id, index, bytes } => {
                    let index = self.aliases.requested(id, index);
                    chunks.extend(self.handle_arrival(key, id, index, bytes));
                }
                LinkEvent::Done { id } => self.handle_end(key, id, End::Done),
                LinkEvent::Refused { id, refusal } => self.handle_end(key, id, End::Refused(refusal)),
                LinkEvent::Have { artifact, update } => {
                    if let Some(slot) = self.artifacts.active_slot(&artifact) {
                        if let HaveUpdate::Add(_) = update {
                            self.peers.note_have_update(key, slot);
                        }
                        let index = &self.artifacts.wanted(slot).index;
                        let update = self.aliases.handle_have(key, slot, index, update);
                        self.scheduler.handle_have(key, slot, update);
                    }
                }
                LinkEvent::HaveEnded { artifact } => {
                    if let Some(slot) = self.artifacts.active_slot(&artifact) {
                        self.peers.note_have_ended(key, slot, Instant::now());
                    }
                }
                LinkEvent::Closed => self.drop_if_closed(key),
            }
        }
        if !chunks.is_empty() {
            self.writers += 1;
            self.jobs.spawn_blocking(move || jobs::write(chunks));
        }
    }

    fn handle_end(&mut self, peer: PeerKey, id: RequestId, end: End) {
        let end = self.aliases.handle_end(id, end);
        self.scheduler.handle_end(Instant::now().into_std(), peer, id, end);
    }

    /// Handles a chunk that a peer sent. Returns the chunk if it has to be verified and written. Bans a peer that sent
    /// a chunk that was never requested from it.
    fn handle_arrival(&mut self, peer: PeerKey, id: RequestId, index: ChunkIndex, bytes: Buffer) -> Option<Received> {
        let slot = match self.scheduler.handle_arrival(peer, id, index) {
            Arrival::Owed(slot) => slot,
            Arrival::Late => {
                self.report.duplicate_bytes += bytes.len() as u64;
                return None;
            }
            Arrival::NotOwed => {
                self.drop_peer(peer, Verdict::of(&LinkError::Unexpected));
                return None;
            }
        };
        if let Some(partial) = self.artifacts.partial(slot) {
            return Some(Received { peer, request: id, slot, index, bytes, partial: partial.clone() });
        }
        self.report.duplicate_bytes += bytes.len() as u64;
        self.scheduler.handle_chunk(Instant::now().into_std(), peer, id, slot, index, ChunkResult::Unneeded);
        None
    }

    fn handle_written(&mut self, written: Written) -> Result<(), DownloadError> {
        let Written { peer, request, slot, index, len, verified } = written;
        let now = Instant::now();
        let result = match verified {
            Ok(true) => ChunkResult::Verified,
            Ok(false) => ChunkResult::Corrupt,
            // The artifact was completed with another copy of this chunk.
            Err(StoreError::Finished(_)) => ChunkResult::Unneeded,
            Err(error) => return Err(error.into()),
        };
        let fresh = self.scheduler.handle_chunk(now.into_std(), peer, request, slot, index, result);
        if !fresh {
            self.report.duplicate_bytes += if result == ChunkResult::Corrupt { 0 } else { len };
            return Ok(());
        }
        let copied = self.artifacts.note_written(slot, index);
        self.credit(peer, len, copied, now);
        Ok(())
    }

    /// Counts a verified chunk for the peer that sent it. `copied` is the length of the equal chunks that were written
    /// with it.
    fn credit(&mut self, key: PeerKey, len: u64, copied: u64, now: Instant) {
        let (id, active) = (self.peers.id(key), now - self.peers.since(key).unwrap_or(now));
        if let Some(peer) = self.report.peers.get_mut(&id) {
            peer.credit(len, active);
        }
        self.progress.send_modify(|p| {
            p.verified += len + copied;
            *p.by_peer.entry(id).or_default() += len;
        });
    }

    /// Starts a job that turns artifacts with all chunks into complete artifacts of the store.
    fn finish(&mut self, slots: Vec<ArtifactSlot>) {
        let complete = slots.into_iter().filter_map(|slot| {
            self.peers.unsubscribe_all(slot);
            self.aliases.handle_complete(slot);
            self.artifacts.take_finished(slot).map(|partial| (slot, partial))
        });
        let complete: Vec<_> = complete.collect();
        if !complete.is_empty() {
            self.openers += 1;
            self.jobs.spawn_blocking(move || jobs::finish(complete));
        }
    }

    fn complete_slot(&mut self, slot: ArtifactSlot) {
        self.artifacts.complete(slot);
        self.progress.send_modify(|p| p.complete += 1);
    }

    /// Drops a peer if its link is closed. After a reconnect it may have a new link, which stays open.
    fn drop_if_closed(&mut self, key: PeerKey) {
        if let Some(error) = self.peers.closed(key) {
            self.drop_peer(key, Verdict::of(&error));
        }
    }

    /// Closes the link of a peer and stores the verdict on the peer. When a peer is banned, its link may be closed
    /// already, because chunks are verified some time after they arrive.
    fn drop_peer(&mut self, key: PeerKey, verdict: Verdict) {
        let (id, link) = (self.peers.id(key), self.peers.remove(key));
        let error = match &verdict {
            Verdict::Banned(reason) => {
                tracing::warn!(peer = %id, %reason, "peer banned");
                LinkError::Banned(reason.clone())
            }
            _ if link.is_none() => return,
            Verdict::Lost(reason) => {
                tracing::info!(peer = %id, %reason, "peer lost");
                LinkError::Ended
            }
            Verdict::Good => LinkError::Ended,
        };
        if let Some(link) = link {
            link.close(&error);
        }
        if let Some(report) = self.report.peers.get_mut(&id) {
            report.verdict = verdict;
        }
        self.progress.send_modify(|p| p.peers = self.peers.len() as u64);
        self.aliases.handle_peer_lost(key);
        self.scheduler.handle_peer_lost(key);
    }

    /// Returns the time at which the driver wakes up if no event arrives earlier.
    fn timer(&mut self) -> Instant {
        let give_up = self.last_progress + self.config.give_up_after;
        match self.scheduler.poll_timeout() {
            Some(timeout) => give_up.min(timeout.into()),
            None => give_up,
        }
    }

    fn handle_timer(&mut self) -> Result<(), DownloadError> {
        let now = Instant::now();
        for (key, received) in self.peers.received() {
            self.scheduler.handle_received(now.into_std(), key, received);
        }
        self.scheduler.handle_timeout(now.into_std());
        let waited = now - self.last_progress;
        if waited < self.config.give_up_after || self.openers > 0 || self.writers > 0 {
            return Ok(());
        }
        Err(DownloadError::Stalled {
            waited,
            missing: self.artifacts.missing_chunks(),
            total: self.artifacts.total_chunks(),
            peers: self.peers.len(),
            report: Box::new(self.final_report()),
        })
    }

    /// Subscribes again, after a backoff, to the have updates of peers that ended them.
    fn resubscribe(&mut self) {
        for (key, slot) in self.peers.take_due(Instant::now()) {
            self.subscribe(key, slot);
        }
    }

    fn begin_checkpoint(&mut self) {
        if self.checkpointing {
            return;
        }
        let dirty = self.artifacts.take_dirty();
        if !dirty.is_empty() {
            self.checkpointing = true;
            self.jobs.spawn_blocking(move || jobs::checkpoint(&dirty));
        }
    }

    fn final_report(&self) -> Report {
        let stats = self.scheduler.stats();
        Report { elapsed: self.started.elapsed(), reassigned: stats.reassigned, ..self.report.clone() }
    }
}

fn worker_failed(error: tokio::task::JoinError) -> DownloadError {
    DownloadError::Worker(error)
}
