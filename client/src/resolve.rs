//! From a name to a verified manifest: everybody who may know is asked, the highest verified version wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use phase_core::envelope::{Envelope, EnvelopeError};
use phase_core::manifest::Manifest;
use phase_core::pointer::Pointer;
use phase_core::store::StoreError;
use phase_core::trust::TrustError;
use phase_core::{Cid, Failure, Name};
use phase_transfer::net::{HeadAnswer, PeerId, PeerLink};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::start::{Client, Trust};

/// Peers asked at a time.
const MAX_ASKING: usize = 16;
/// Peers asked in all: more would only say the same again.
const MAX_ASKED: usize = 64;

/// How long to look, and for how many answers.
#[derive(Clone, Copy, Debug)]
pub struct ResolveOptions {
    /// Verified answers after which the search ends. More answers make it harder to hide a newer release.
    pub answers: usize,
    /// When to be content with fewer, or to give up.
    pub timeout: Duration,
}

impl Default for ResolveOptions {
    fn default() -> Self {
        Self { answers: 3, timeout: Duration::from_secs(10) }
    }
}

/// What one peer said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who.
    pub peer: PeerId,
    /// The version it offered, or why its answer does not count.
    pub result: Result<u64, String>,
}

/// A verified release.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What was asked for.
    pub name: Name,
    /// What is in the release.
    pub manifest: Manifest,
    /// The CID of its envelope.
    pub manifest_cid: Cid,
    /// The signed pointer to it.
    pub pointer: Envelope,
    /// The encoded envelope.
    pub envelope: Vec<u8>,
    /// What everybody said who was asked.
    pub answers: Vec<Answer>,
    /// Peers that offered this very release.
    pub providers: Vec<PeerId>,
    /// Whether the DHT held a valid pointer record.
    pub pointer_in_dht: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Client {
    /// Finds the newest release of a name that `trust` accepts.
    ///
    /// # Errors
    /// [`ResolveError`]. A release older than the one in the store is refused.
    pub async fn resolve(&self, name: &Name, trust: &Trust, options: ResolveOptions) -> Result<Resolved, ResolveError> {
        let started = Instant::now();
        let held = self.catalog().store().pointer(name)?;
        let held = held.and_then(|envelope| envelope.payload_unverified::<Pointer>().ok());
        let mut search = Search {
            client: self,
            name,
            trust,
            asked: BTreeSet::new(),
            answers: Vec::new(),
            best: None,
            offers: BTreeMap::new(),
            newest_pointer: None,
            is_answered: false,
            held: held.as_ref(),
        };
        search.run(started + options.timeout, options.answers).await;
        let Search { answers, best, offers, newest_pointer, is_answered, .. } = search;
        let Some(candidate) = best else {
            return Err(nothing_valid(name, &answers, is_answered));
        };
        check_floor(name, candidate.manifest.version, held.as_ref())?;
        Ok(Resolved {
            name: name.clone(),
            providers: offers.get(&candidate.cid).cloned().unwrap_or_default(),
            manifest: candidate.manifest,
            manifest_cid: candidate.cid,
            pointer: candidate.pointer,
            envelope: candidate.envelope,
            answers,
            pointer_in_dht: newest_pointer.is_some(),
            elapsed: started.elapsed(),
        })
    }
}

/// Refuses what is older than the release in the store.
fn check_floor(name: &Name, version: u64, held: Option<&Pointer>) -> Result<(), ResolveError> {
    let floor = held.map_or(0, |pointer| pointer.version);
    if version < floor {
        return Err(ResolveError::Rollback { name: name.clone(), offered: version, floor });
    }
    Ok(())
}

fn nothing_valid(name: &Name, answers: &[Answer], is_answered: bool) -> ResolveError {
    let name = name.clone();
    let said = answers.iter().filter_map(|answer| Some(format!("{}: {}", answer.peer, answer.result.as_ref().err()?)));
    match (answers.is_empty(), is_answered) {
        (true, _) => ResolveError::NotFound { name },
        (false, true) => ResolveError::NoneValid { name, refused: said.collect() },
        (false, false) => ResolveError::Silent { name, tried: said.collect() },
    }
}

/// A release that verified.
struct Candidate {
    cid: Cid,
    manifest: Manifest,
    pointer: Envelope,
    envelope: Vec<u8>,
}

/// One search for a name.
struct Search<'a> {
    client: &'a Client,
    name: &'a Name,
    trust: &'a Trust,
    asked: BTreeSet<PeerId>,
    answers: Vec<Answer>,
    best: Option<Candidate>,
    /// Who offered which release.
    offers: BTreeMap<Cid, Vec<PeerId>>,
    /// The newest valid pointer that the DHT held.
    newest_pointer: Option<Pointer>,
    /// Whether anybody sent a release, valid or not.
    is_answered: bool,
    /// What the store has.
    held: Option<&'a Pointer>,
}

impl Search<'_> {
    async fn run(&mut self, deadline: Instant, wanted: usize) {
        let node = self.client.node().clone();
        let key = self.name.key();
        let mut values = node.find_values(key.as_bytes()).await;
        let mut providers = node.find_providers(key.as_bytes()).await;
        let mut more_providers = None;
        let mut asking = JoinSet::new();
        let mut to_ask = VecDeque::new();
        let (mut values_open, mut providers_open) = (true, true);
        loop {
            if !values_open && !providers_open && more_providers.is_none() && asking.is_empty()
                || self.is_enough(wanted)
            {
                return;
            }
            let found = tokio::select! {
                value = values.recv(), if values_open => {
                    match value {
                        Some(value) => if let Some(manifest) = self.handle_value(&value) {
                            // Whoever has the manifest knows the name too, even if the name's own records are stale.
                            more_providers = Some(node.find_providers(&manifest.to_bytes()).await);
                        },
                        None => values_open = false,
                    }
                    None
                }
                peer = providers.recv(), if providers_open => { providers_open = peer.is_some(); peer }
                peer = next(&mut more_providers), if more_providers.is_some() => {
                    if peer.is_none() {
                        more_providers = None;
                    }
                    peer
                }
                Some(Ok((peer, answer))) = asking.join_next() => { self.handle_answer(peer, answer); None }
                () = tokio::time::sleep_until(deadline) => return,
            };
            if let Some(peer) = found
                && self.asked.len() < MAX_ASKED
                && self.asked.insert(peer)
            {
                to_ask.push_back(peer);
            }
            while asking.len() < MAX_ASKING
                && let Some(peer) = to_ask.pop_front()
            {
                asking.spawn(ask(node.clone(), peer, self.name.clone()));
            }
        }
    }

    /// Enough agree, and nobody vouches for anything newer.
    fn is_enough(&self, wanted: usize) -> bool {
        let Some(best) = &self.best else { return false };
        let offered = self.offers.get(&best.cid).map_or(0, Vec::len);
        let newer = self.newest_pointer.as_ref().is_some_and(|pointer| pointer.version > best.manifest.version);
        offered >= wanted && !newer && self.newest_pointer.is_some()
    }

    /// Verifies a pointer from the DHT; returns its manifest if it is the newest so far.
    fn handle_value(&mut self, value: &[u8]) -> Option<Cid> {
        let envelope = Envelope::decode(value).ok()?;
        match self.trust.root.verify_pointer(&envelope, self.name, self.trust.time) {
            Ok(pointer) => {
                let newest = self.newest_pointer.as_ref().is_none_or(|held| pointer.version > held.version);
                let manifest = pointer.manifest;
                newest.then(|| self.newest_pointer = Some(pointer)).map(|()| manifest)
            }
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "pointer record in the DHT is not valid");
                None
            }
        }
    }

    fn handle_answer(&mut self, peer: PeerId, answer: Result<HeadAnswer, String>) {
        self.is_answered |= answer.is_ok();
        let result = answer.and_then(|head| {
            let candidate = self.verify(&head).map_err(|error| describe(&error))?;
            let (cid, version) = (candidate.cid, candidate.manifest.version);
            self.consider(candidate).map_err(|error| describe(&error))?;
            self.offers.entry(cid).or_default().push(peer);
            Ok(version)
        });
        match &result {
            Ok(version) => tracing::debug!(%peer, version, "release offered"),
            Err(error) => tracing::warn!(%peer, %error, "answer does not count"),
        }
        self.answers.push(Answer { peer, result });
    }

    fn verify(&self, head: &HeadAnswer) -> Result<Candidate, AnswerError> {
        let Trust { root, time } = self.trust;
        let envelope = Envelope::decode(&head.envelope)?;
        let manifest = root.verify_manifest(&envelope, self.name, *time)?;
        let pointer_envelope = Envelope::decode(&head.pointer)?;
        let pointer = root.verify_pointer(&pointer_envelope, self.name, *time)?;
        if (pointer.manifest, pointer.version) != (envelope.cid(), manifest.version) {
            return Err(AnswerError::OtherRelease);
        }
        Ok(Candidate { cid: envelope.cid(), manifest, pointer: pointer_envelope, envelope: head.envelope.clone() })
    }

    /// Keeps the newest release. Of two with the same version the one in the store is kept, otherwise the first.
    fn consider(&mut self, candidate: Candidate) -> Result<(), AnswerError> {
        let version = candidate.manifest.version;
        let best = self.best.as_ref().map(|best| (best.manifest.version, best.cid));
        let held = self.held.map(|held| (held.version, held.manifest));
        if let Some((_, kept)) = held.into_iter().chain(best).find(|kept| kept.0 == version && kept.1 != candidate.cid)
        {
            tracing::error!(name = %self.name, version, %kept, refused = %candidate.cid, "two releases have one version");
            return Err(AnswerError::Equivocation { version, kept });
        }
        if best.is_none_or(|(newest, _)| version > newest) {
            self.best = Some(candidate);
        }
        Ok(())
    }
}

/// An error and its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why an answer to a request for a name does not count.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("its pointer leads to another release than the one it sent")]
    OtherRelease,
    #[error("equivocation: version {version} is signed twice, this and {kept}; tell the publisher")]
    Equivocation { version: u64, kept: Cid },
}

async fn next(peers: &mut Option<tokio::sync::mpsc::Receiver<PeerId>>) -> Option<PeerId> {
    peers.as_mut()?.recv().await
}

async fn ask(node: phase_transfer::net::NodeHandle, peer: PeerId, name: Name) -> (PeerId, Result<HeadAnswer, String>) {
    let answer = async {
        let link = PeerLink::open(&node, peer, Vec::new()).await.map_err(|error| error.to_string())?;
        link.head(&name).await.map_err(|error| error.to_string())
    };
    (peer, answer.await)
}

/// Why a name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nobody knows it.
    #[error("nothing is published as {name}: no provider was found in the DHT")]
    NotFound {
        /// The name.
        name: Name,
    },
    /// Somebody knows it, nobody offers a release that verifies.
    #[error("no valid release of {name}: {}", refused.join("; "))]
    NoneValid {
        /// The name.
        name: Name,
        /// Every peer that was asked, and what was wrong with its answer.
        refused: Vec<String>,
    },
    /// Somebody should know it, nobody answers.
    #[error("nobody who provides {name} answers: {}", tried.join("; "))]
    Silent {
        /// The name.
        name: Name,
        /// Every peer that was asked, and what became of it.
        tried: Vec<String>,
    },
    /// Everything offered is older than what the store holds.
    #[error("rollback refused: {name} is offered as version {offered}, the store holds version {floor}")]
    Rollback {
        /// The name.
        name: Name,
        /// The newest version offered.
        offered: u64,
        /// The version in the store.
        floor: u64,
    },
    /// The store cannot be read.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
}

impl ResolveError {
    /// The kind of failure, for exit codes.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } => Failure::NotFound,
            Self::Silent { .. } => Failure::Network,
            Self::NoneValid { .. } | Self::Rollback { .. } => Failure::Untrusted,
            Self::Store(error) => error.failure(),
        }
    }
}
