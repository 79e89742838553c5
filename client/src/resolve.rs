//! From a name to a verified manifest: everybody who may know is asked, the highest verified version wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use phase_core::dht::Pointer;
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::name::NAME_COPIES;
use phase_core::store::StoreError;
use phase_core::{Cid, Fails, Failure, Name};
use phase_node::{FoundProvider, NodeHandle, PeerId, QueryError, QueryReport, Source};
use phase_transfer::{HeadAnswer, PeerLink};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::answer::{Answer, AnswerError};
use crate::client::{Client, Trust};
use crate::sources::{Finding, Sources};

/// Peers asked at a time.
const MAX_ASKING: usize = 64;
/// How long those who may know of a newer release are waited for, although enough agree on one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Peers asked in all: more would only say the same again.
const MAX_ASKED: usize = 128;

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
        let held = self.held(name).await?;
        let mut search = Search {
            client: self,
            name,
            trust,
            asked: BTreeSet::new(),
            answers: Vec::new(),
            best: None,
            offers: BTreeMap::new(),
            newest_pointer: None,
            standing: Standing::Unheard,
            held: held.as_ref(),
            given: BTreeSet::new(),
            unannounced: BTreeSet::new(),
            values_ended: 0,
            patient_until: started + PATIENCE,
            searches: Vec::new(),
        };
        search.run(started + options.timeout, options.answers).await;
        let Search { answers, best, offers, newest_pointer, standing, searches, .. } = search;
        let Some(candidate) = best else {
            return Err(nothing_valid(name, &answers, standing, &searches));
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

impl Client {
    /// The pointer that the store has, unverified: reading it may block.
    async fn held(&self, name: &Name) -> Result<Option<Pointer>, ResolveError> {
        let (store, name) = (self.catalog().store().clone(), name.clone());
        let read = tokio::task::spawn_blocking(move || store.pointer(&name));
        let envelope = read.await.map_err(ResolveError::Worker)??;
        Ok(envelope.and_then(|envelope| envelope.payload_unverified::<Pointer>().ok()))
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

fn nothing_valid(
    name: &Name,
    answers: &[Answer],
    standing: Standing,
    searches: &[Result<QueryReport, QueryError>],
) -> ResolveError {
    let name = name.clone();
    let said = answers.iter().filter_map(|answer| Some(format!("{}: {}", answer.peer, answer.result.as_ref().err()?)));
    match standing {
        Standing::Unheard | Standing::Denied => {
            let mut asked: Vec<_> = searches.iter().map(describe_search).chain(said).collect();
            asked.dedup();
            ResolveError::NotFound { name, asked }
        }
        Standing::Answered => ResolveError::NoneValid { name, refused: said.collect() },
        Standing::Unreachable | Standing::Claimed => ResolveError::Silent { name, tried: said.collect() },
    }
}

fn describe_search(outcome: &Result<QueryReport, QueryError>) -> String {
    match outcome {
        Ok(report) => format!("the DHT knows no provider ({report})"),
        Err(error) => error.to_string(),
    }
}

/// What is known of a name, from all that was said: what comes later counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Nothing.
    Unheard,
    /// Peers that were given cannot be reached: they may have the release, but no other peer says so.
    Unreachable,
    /// A peer says that it does not know the name.
    Denied,
    /// A peer has not said that it does not know the name, but gave no release either.
    Claimed,
    /// A peer sent a release, valid or not.
    Answered,
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
    standing: Standing,
    /// What the store has.
    held: Option<&'a Pointer>,
    /// Peers that were asked because they were given, and for no other reason.
    given: BTreeSet<PeerId>,
    /// Peers that were asked although nobody said that they know the name.
    unannounced: BTreeSet<PeerId>,
    /// Searches for the pointer that have ended, of one for each key of the name.
    values_ended: usize,
    /// Until when those that have not are waited for.
    patient_until: Instant,
    /// How the searches for providers ended.
    searches: Vec<Result<QueryReport, QueryError>>,
}

impl Search<'_> {
    async fn run(&mut self, deadline: Instant, wanted: usize) {
        let node = self.client.node().clone();
        let mut sources = Sources::start(&node, self.name);
        let (mut sources_open, mut may_fall_back) = (true, true);
        let mut asking = JoinSet::new();
        // In turn, so that no source holds up another.
        let mut to_ask: BTreeMap<usize, VecDeque<FoundProvider>> = BTreeMap::new();
        let mut turn = 0;
        while (sources_open || !asking.is_empty()) && !self.is_enough(wanted) {
            tokio::select! {
                finding = sources.next(), if sources_open => match finding {
                    Some(Finding::Value(value)) => if let Some(manifest) = self.handle_value(&value) {
                        sources.find_providers_of(&manifest);
                    },
                    Some(Finding::Peer(source, found)) => {
                        self.given.remove(&found.peer);
                        if self.is_new(&found) {
                            to_ask.entry(source).or_default().push_back(found);
                        }
                    }
                    Some(Finding::Given(source, found)) => if self.is_new(&found) {
                        self.given.insert(found.peer);
                        to_ask.entry(source).or_default().push_back(found);
                    },
                    Some(Finding::ValuesEnded) => self.values_ended += 1,
                    Some(Finding::Ended(outcome)) => self.searches.push(outcome),
                    None => sources_open = false,
                },
                Some(Ok((peer, answer))) = asking.join_next() => self.handle_answer(peer, answer),
                () = tokio::time::sleep_until(self.patient_until), if Instant::now() < self.patient_until => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
            if !sources_open && asking.is_empty() && self.best.is_none() && std::mem::take(&mut may_fall_back) {
                to_ask.entry(0).or_default().extend(self.last_resort());
            }
            while asking.len() < MAX_ASKING
                && let Some(found) = next_in_turn(&mut to_ask, &mut turn)
            {
                asking.spawn(ask(node.clone(), found, self.name.clone()));
            }
        }
    }

    /// Whether a peer is to be asked: it has not been, and there is room for it.
    fn is_new(&mut self, found: &FoundProvider) -> bool {
        self.asked.len() < MAX_ASKED && self.asked.insert(found.peer)
    }

    /// Where nobody is said to know the name, those through whom we joined may: often they are providers.
    fn last_resort(&mut self) -> Vec<FoundProvider> {
        let peers = self.client.node().peers().into_iter();
        let first = peers.filter(|info| info.source == Source::Bootstrap && info.is_connected()).map(|info| info.peer);
        let new: Vec<_> = first.filter(|peer| self.asked.insert(*peer)).collect();
        self.unannounced.extend(&new);
        new.into_iter().map(|peer| FoundProvider { peer, addresses: Vec::new() }).collect()
    }

    /// Enough agree, and nobody vouches for anything newer: those who were asked for the pointer have had the time to.
    fn is_enough(&self, wanted: usize) -> bool {
        let Some(best) = &self.best else { return false };
        let may_hear_more = self.values_ended < usize::from(NAME_COPIES) && Instant::now() < self.patient_until;
        if may_hear_more {
            return false;
        }
        let offered = self.offers.get(&best.cid).map_or(0, Vec::len);
        let newer = self.newest_pointer.as_ref().is_some_and(|pointer| pointer.version > best.manifest.version);
        offered >= wanted && !newer && self.newest_pointer.is_some()
    }

    /// Verifies a pointer from the DHT; returns its manifest if it is the newest so far. One without a manifest is
    /// for clients without the DHT, and says nothing here.
    fn handle_value(&mut self, value: &[u8]) -> Option<Cid> {
        let envelope = Envelope::decode(value).ok()?;
        match self.trust.root.verify_pointer(&envelope, self.name, self.trust.time) {
            Ok(pointer) => {
                let manifest = pointer.manifest?;
                let newest = self.newest_pointer.as_ref().is_none_or(|held| pointer.version > held.version);
                newest.then(|| self.newest_pointer = Some(pointer)).map(|()| manifest)
            }
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "pointer record in the DHT is not valid");
                None
            }
        }
    }

    fn handle_answer(&mut self, peer: PeerId, answer: Result<HeadAnswer, AnswerError>) {
        if answer.is_err() && self.unannounced.contains(&peer) {
            // It never said that it has it.
            return;
        }
        let standing = match &answer {
            Ok(_) => Standing::Answered,
            // Peers that were given are asked whether or not they have ever heard of the name.
            Err(error) if error.is_denial() => Standing::Denied,
            Err(error) if error.is_unreachable() && self.given.contains(&peer) => Standing::Unreachable,
            Err(_) => Standing::Claimed,
        };
        self.standing = self.standing.max(standing);
        let result = answer.and_then(|head| {
            let candidate = self.verify(&head)?;
            let (cid, version) = (candidate.cid, candidate.manifest.version);
            self.consider(candidate)?;
            self.offers.entry(cid).or_default().push(peer);
            Ok(version)
        });
        match &result {
            Ok(version) => tracing::debug!(%peer, version, "release offered"),
            Err(error) if standing == Standing::Denied => tracing::debug!(%peer, %error, "does not know the name"),
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
        if (pointer.manifest, pointer.version) != (Some(envelope.cid()), manifest.version) {
            return Err(AnswerError::OtherRelease);
        }
        Ok(Candidate { cid: envelope.cid(), manifest, pointer: pointer_envelope, envelope: head.envelope.clone() })
    }

    /// Keeps the newest release. Of two with the same version the one in the store is kept, otherwise the first.
    fn consider(&mut self, candidate: Candidate) -> Result<(), AnswerError> {
        let version = candidate.manifest.version;
        let best = self.best.as_ref().map(|best| (best.manifest.version, best.cid));
        let held = self.held.and_then(|held| Some((held.version, held.manifest?)));
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

/// The next peer to ask: the sources take turns.
fn next_in_turn(to_ask: &mut BTreeMap<usize, VecDeque<FoundProvider>>, turn: &mut usize) -> Option<FoundProvider> {
    to_ask.retain(|_, waiting| !waiting.is_empty());
    let source = to_ask.range(*turn + 1..).chain(to_ask.iter()).map(|(source, _)| *source).next()?;
    *turn = source;
    to_ask.get_mut(&source)?.pop_front()
}

async fn ask(node: NodeHandle, found: FoundProvider, name: Name) -> (PeerId, Result<HeadAnswer, AnswerError>) {
    let answer = async {
        let link = PeerLink::open(&node, found.peer, found.addresses).await?;
        Ok(link.head(&name).await?)
    };
    (found.peer, answer.await)
}

/// Why a name could not be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody knows it.
    #[error("nothing is published as {name}: no provider was found{}{}", if asked.is_empty() { "" } else { ": " }, asked.join("; "))]
    NotFound {
        /// The name.
        name: Name,
        /// Who was asked, and what came of it.
        asked: Vec<String>,
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
    /// A worker thread panicked.
    #[error("a worker failed")]
    Worker(#[source] JoinError),
}

impl Fails for ResolveError {
    fn failure(&self) -> Failure {
        match self {
            Self::NotFound { .. } => Failure::NotFound,
            Self::Silent { .. } => Failure::Network,
            Self::NoneValid { .. } | Self::Rollback { .. } => Failure::Untrusted,
            Self::Store(error) => error.failure(),
            Self::Worker(_) => Failure::Other,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => Some("check the name; a provider needs some seconds to announce a new release"),
            Self::NoneValid { .. } => Some("is this the root that the publisher signs with?"),
            _ => None,
        }
    }
}
