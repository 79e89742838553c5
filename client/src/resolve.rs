//! Resolves a name to a verified manifest. Asks all peers that may serve the name, and takes the highest version that
//! verifies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use phase_core::dht::Pointer;
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::name::NAME_COPIES;
use phase_core::store::StoreError;
use phase_core::{Attempt, Cause, Cid, Fails, Failure, Name};
use phase_node::{FoundProvider, NodeHandle, PeerId, QueryError, QueryReport, Source};
use phase_transfer::{HeadAnswer, PeerLink};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::answer::{Answer, AnswerError};
use crate::client::{Client, Trust};
use crate::sources::{Finding, Sources};

/// The maximum number of peers that are asked at the same time.
const MAX_ASKING: usize = 64;
/// The time after which a resolve may end although DHT searches for the pointer are still running. Until then it waits
/// for them, because a search may return a pointer to a newer release.
const VALUES_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of peers that one resolve asks, because further peers would only repeat the answers. Bootstrap
/// peers are asked beyond this limit.
const MAX_ASKED: usize = 128;

/// The conditions under which a resolve ends.
#[derive(Clone, Copy, Debug)]
pub struct ResolveOptions {
    /// The number of peers that must offer the newest release before the resolve ends early. More peers make it harder
    /// to hide a newer release. Default: 3.
    pub answers: usize,
    /// The longest time to search. After this time, the newest verified release is accepted even if fewer peers offer
    /// it. If no release was verified, the resolve fails. Default: 10 s.
    pub timeout: Duration,
}

impl Default for ResolveOptions {
    fn default() -> Self {
        Self { answers: 3, timeout: Duration::from_secs(10) }
    }
}

/// The result of a resolve: a verified release and its providers.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The name that was resolved.
    pub name: Name,
    /// The verified manifest of the release.
    pub manifest: Manifest,
    /// The CID of the manifest's envelope.
    pub manifest_cid: Cid,
    /// The signed pointer to the manifest.
    pub pointer: Envelope,
    /// The encoded envelope that contains the manifest and its signatures.
    pub envelope: Vec<u8>,
    /// The answers of the peers that were asked.
    pub answers: Vec<Answer>,
    /// The peers that offer this release.
    pub providers: Vec<PeerId>,
    /// Whether the DHT returned a valid pointer record for the name.
    pub pointer_in_dht: bool,
    /// The duration of the resolve.
    pub elapsed: Duration,
}

impl Client {
    /// Finds the newest release of a name that `trust` accepts.
    ///
    /// # Errors
    /// [`ResolveError`] if no peer offers a valid release, or if the newest valid release is older than the release in
    /// the store.
    pub async fn resolve(&self, name: &Name, trust: &Trust, options: ResolveOptions) -> Result<Resolved, ResolveError> {
        let started = Instant::now();
        let held = self.stored_pointer(name).await?;
        let mut search = Search {
            client: self,
            name,
            trust,
            asked: BTreeSet::new(),
            answers: Vec::new(),
            best: None,
            offers: BTreeMap::new(),
            newest_pointer: None,
            standing: Standing::Unknown,
            held: held.as_ref(),
            configured: BTreeSet::new(),
            unannounced: BTreeSet::new(),
            values_ended: 0,
            values_deadline: started + VALUES_TIMEOUT,
            searches: Vec::new(),
        };
        search.run(started + options.timeout, options.answers).await;
        let Search { answers, best, offers, newest_pointer, standing, searches, .. } = search;
        let Some(release) = best else {
            return Err(no_valid_release(name, &answers, standing, &searches));
        };
        check_floor(name, release.manifest.version, held.as_ref())?;
        Ok(Resolved {
            name: name.clone(),
            providers: offers.get(&release.cid).cloned().unwrap_or_default(),
            manifest: release.manifest,
            manifest_cid: release.cid,
            pointer: release.pointer,
            envelope: release.envelope,
            answers,
            pointer_in_dht: newest_pointer.is_some(),
            elapsed: started.elapsed(),
        })
    }
}

impl Client {
    /// Returns the pointer that the store has for a name, without verifying it. Reads the store on the thread pool for
    /// blocking work.
    async fn stored_pointer(&self, name: &Name) -> Result<Option<Pointer>, ResolveError> {
        let (store, name) = (self.catalog().store().clone(), name.clone());
        let read = tokio::task::spawn_blocking(move || store.pointer(&name));
        let envelope = read.await.map_err(ResolveError::Worker)??;
        Ok(envelope.and_then(|envelope| envelope.payload_unverified::<Pointer>().ok()))
    }
}

/// Returns an error if a release is older than the release in the store.
fn check_floor(name: &Name, version: u64, held: Option<&Pointer>) -> Result<(), ResolveError> {
    let floor = held.map_or(0, |pointer| pointer.version);
    if version < floor {
        return Err(ResolveError::Rollback { name: name.clone(), offered: version, floor });
    }
    Ok(())
}

/// Returns the error of a resolve that found no valid release.
fn no_valid_release(
    name: &Name,
    answers: &[Answer],
    standing: Standing,
    searches: &[Result<QueryReport, QueryError>],
) -> ResolveError {
    let name = name.clone();
    let errors =
        answers.iter().filter_map(|answer| Some(Attempt::new(answer.peer, answer.result.as_ref().err()?.causes())));
    match standing {
        Standing::Unknown | Standing::Denied => {
            let nodes = searches.iter().flat_map(|outcome| match outcome {
                Ok(report) => report.attempts(),
                Err(error) => error.attempts(),
            });
            let asked = Attempt::merged(searches.iter().map(search_attempt).chain(errors).chain(nodes));
            ResolveError::NotFound { name, asked }
        }
        Standing::Answered => ResolveError::NoneValid { name, refused: errors.collect() },
        Standing::Unreachable | Standing::Claimed => ResolveError::Silent { name, tried: errors.collect() },
    }
}

fn search_attempt(outcome: &Result<QueryReport, QueryError>) -> Attempt {
    let cause = outcome.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    Attempt::new("DHT search for providers", vec![Cause::new(cause)])
}

/// The summary of all answers about a name. It decides the error of a resolve that finds no valid release. If peers
/// answered differently, the variant that is declared last is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// No peer has answered. Errors from peers in `Search::unannounced` do not count as answers.
    Unknown,
    /// A configured peer cannot be reached. Neither the DHT nor the local network has reported this peer.
    Unreachable,
    /// A peer replied that it does not serve the name.
    Denied,
    /// A peer may have a release but sent none. For instance, the DHT reported the peer, but the peer cannot be
    /// reached.
    Claimed,
    /// A peer sent a release, valid or not.
    Answered,
}

/// A verified release with its pointer and the envelope of its manifest.
struct VerifiedRelease {
    cid: Cid,
    manifest: Manifest,
    pointer: Envelope,
    envelope: Vec<u8>,
}

/// The state of a running [`Client::resolve`].
struct Search<'a> {
    client: &'a Client,
    name: &'a Name,
    trust: &'a Trust,
    asked: BTreeSet<PeerId>,
    answers: Vec<Answer>,
    best: Option<VerifiedRelease>,
    /// The peers that offer each release, by manifest CID.
    offers: BTreeMap<Cid, Vec<PeerId>>,
    /// The newest valid pointer that the DHT returned.
    newest_pointer: Option<Pointer>,
    standing: Standing,
    /// The pointer that the store has for the name. Its signatures are not verified.
    held: Option<&'a Pointer>,
    /// The configured peers that neither the DHT nor the local network has reported.
    configured: BTreeSet<PeerId>,
    /// The bootstrap peers that are asked although no source reports that they serve the name.
    unannounced: BTreeSet<PeerId>,
    /// The number of DHT searches for the pointer that have ended. There is one search for each DHT key of the name.
    values_ended: usize,
    /// The time when the resolve stops waiting for the DHT searches for the pointer.
    values_deadline: Instant,
    /// The results of the DHT searches for providers.
    searches: Vec<Result<QueryReport, QueryError>>,
}

impl Search<'_> {
    async fn run(&mut self, deadline: Instant, wanted: usize) {
        let node = self.client.node().clone();
        let mut sources = Sources::start(&node, self.name);
        let (mut sources_open, mut may_fall_back) = (true, true);
        let mut asking = JoinSet::new();
        // The peers to ask, by the number of their source. The sources take turns, so that no source delays another.
        let mut to_ask: BTreeMap<usize, VecDeque<FoundProvider>> = BTreeMap::new();
        let mut turn = 0;
        while (sources_open || !asking.is_empty()) && !self.is_enough(wanted) {
            tokio::select! {
                finding = sources.next(), if sources_open => match finding {
                    Some(Finding::Value(value)) => if let Some(manifest) = self.handle_value(&value) {
                        sources.find_providers_of(&manifest);
                    },
                    Some(Finding::Peer(source, found)) => {
                        self.configured.remove(&found.peer);
                        if self.mark_asked(&found) {
                            to_ask.entry(source).or_default().push_back(found);
                        }
                    }
                    Some(Finding::Configured(source, found)) => if self.mark_asked(&found) {
                        self.configured.insert(found.peer);
                        to_ask.entry(source).or_default().push_back(found);
                    },
                    Some(Finding::ValuesEnded) => self.values_ended += 1,
                    Some(Finding::Ended(outcome)) => self.searches.push(outcome),
                    None => sources_open = false,
                },
                Some(Ok((peer, answer))) = asking.join_next() => self.handle_answer(peer, answer),
                () = tokio::time::sleep_until(self.values_deadline), if Instant::now() < self.values_deadline => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
            if !sources_open && asking.is_empty() && self.best.is_none() && std::mem::take(&mut may_fall_back) {
                to_ask.entry(0).or_default().extend(self.bootstrap_peers_to_ask());
            }
            while asking.len() < MAX_ASKING
                && let Some(found) = next_in_turn(&mut to_ask, &mut turn)
            {
                asking.spawn(ask(node.clone(), found, self.name.clone()));
            }
        }
    }

    /// Marks a peer as asked. Returns false if the peer was marked before, or if [`MAX_ASKED`] peers are marked.
    fn mark_asked(&mut self, found: &FoundProvider) -> bool {
        self.asked.len() < MAX_ASKED && self.asked.insert(found.peer)
    }

    /// Returns the connected bootstrap peers that have not been asked, and marks them as asked. Bootstrap peers are
    /// often providers, even if no source reports this.
    fn bootstrap_peers_to_ask(&mut self) -> Vec<FoundProvider> {
        let peers = self.client.node().peers().into_iter();
        let bootstrap =
            peers.filter(|info| info.source == Source::Bootstrap && info.is_connected()).map(|info| info.peer);
        let new: Vec<_> = bootstrap.filter(|peer| self.asked.insert(*peer)).collect();
        self.unannounced.extend(&new);
        new.into_iter().map(|peer| FoundProvider { peer, addresses: Vec::new() }).collect()
    }

    /// Returns whether the resolve may end early. At least `wanted` peers must offer the best release. The DHT must
    /// have returned a valid pointer, and no pointer to a newer release. All DHT searches for the pointer must have
    /// ended, unless [`VALUES_TIMEOUT`] has passed.
    fn is_enough(&self, wanted: usize) -> bool {
        let Some(best) = &self.best else { return false };
        let may_find_newer = self.values_ended < usize::from(NAME_COPIES) && Instant::now() < self.values_deadline;
        if may_find_newer {
            return false;
        }
        let offered = self.offers.get(&best.cid).map_or(0, Vec::len);
        let newer = self.newest_pointer.as_ref().is_some_and(|pointer| pointer.version > best.manifest.version);
        offered >= wanted && !newer && self.newest_pointer.is_some()
    }

    /// Verifies a pointer from the DHT, and returns the CID of its manifest if the pointer is the newest so far.
    /// Ignores a pointer without a manifest, because its release can be fetched only from URLs.
    fn handle_value(&mut self, value: &[u8]) -> Option<Cid> {
        let envelope = Envelope::decode(value).ok()?;
        match self.trust.root.verify_pointer(&envelope, self.name, self.trust.time) {
            Ok(pointer) => {
                let manifest = pointer.manifest?;
                let newest = self.newest_pointer.as_ref().is_none_or(|held| pointer.version > held.version);
                newest.then(|| self.newest_pointer = Some(pointer)).map(|()| manifest)
            }
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "a pointer record from the DHT is not valid");
                None
            }
        }
    }

    fn handle_answer(&mut self, peer: PeerId, answer: Result<HeadAnswer, AnswerError>) {
        if answer.is_err() && self.unannounced.contains(&peer) {
            // Ignore the error, because no source reported that this peer serves the name.
            return;
        }
        let standing = match &answer {
            Ok(_) => Standing::Answered,
            // This refusal is normal, because configured peers are asked even if they do not serve the name.
            Err(error) if error.is_denial() => Standing::Denied,
            Err(error) if error.is_unreachable() && self.configured.contains(&peer) => Standing::Unreachable,
            Err(_) => Standing::Claimed,
        };
        self.standing = self.standing.max(standing);
        let result = answer.and_then(|head| {
            let release = self.verify(&head)?;
            let (cid, version) = (release.cid, release.manifest.version);
            self.consider(release)?;
            self.offers.entry(cid).or_default().push(peer);
            Ok(version)
        });
        match &result {
            Ok(version) => tracing::debug!(%peer, version, "peer offers a release"),
            Err(error) if standing == Standing::Denied => {
                tracing::debug!(%peer, %error, "peer does not serve the name")
            }
            Err(error) => tracing::warn!(%peer, %error, "the answer of the peer is not valid"),
        }
        self.answers.push(Answer { peer, result });
    }

    /// Verifies the manifest and the pointer in an answer.
    fn verify(&self, head: &HeadAnswer) -> Result<VerifiedRelease, AnswerError> {
        let Trust { root, time } = self.trust;
        let envelope = Envelope::decode(&head.envelope)?;
        let manifest = root.verify_manifest(&envelope, self.name, *time)?;
        let pointer_envelope = Envelope::decode(&head.pointer)?;
        let pointer = root.verify_pointer(&pointer_envelope, self.name, *time)?;
        if (pointer.manifest, pointer.version) != (Some(envelope.cid()), manifest.version) {
            return Err(AnswerError::OtherRelease);
        }
        Ok(VerifiedRelease {
            cid: envelope.cid(),
            manifest,
            pointer: pointer_envelope,
            envelope: head.envelope.clone(),
        })
    }

    /// Keeps `release` if it is the newest so far. Of two releases with the same version, keeps the release in the
    /// store, or else the one that arrived first.
    ///
    /// # Errors
    /// [`AnswerError::Equivocation`] if a different release with the same version is in the store or was kept before.
    fn consider(&mut self, release: VerifiedRelease) -> Result<(), AnswerError> {
        let version = release.manifest.version;
        let best = self.best.as_ref().map(|best| (best.manifest.version, best.cid));
        let held = self.held.and_then(|held| Some((held.version, held.manifest?)));
        if let Some((_, kept)) = held.into_iter().chain(best).find(|kept| kept.0 == version && kept.1 != release.cid) {
            let refused = release.cid;
            tracing::error!(name = %self.name, version, %kept, %refused, "two signed manifests have the same version");
            return Err(AnswerError::Equivocation { version, kept });
        }
        if best.is_none_or(|(newest, _)| version > newest) {
            self.best = Some(release);
        }
        Ok(())
    }
}

/// Takes the next peer to ask, round-robin over the sources. `turn` is the number of the source of the previous peer.
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

fn peers_were(asked: &[Attempt]) -> String {
    if asked.len() == 1 { "1 peer was".to_owned() } else { format!("{} peers were", asked.len()) }
}

/// An error from [`Client::resolve`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No peer serves the name.
    #[error("nothing is published as {name}: no peer offers it")]
    NotFound {
        /// The requested name.
        name: Name,
        /// What was tried, with its result: a DHT search, a DHT node that a search asked, or a peer that was asked for
        /// the release.
        asked: Vec<Attempt>,
    },
    /// At least one peer sent a release, but none is valid.
    #[error("no valid release of {name}: {} asked", peers_were(refused))]
    NoneValid {
        /// The requested name.
        name: Name,
        /// The peers that were asked, each with its error.
        refused: Vec<Attempt>,
    },
    /// At least one peer may serve the name, but no peer sent a release.
    #[error("no provider of {name} answers: {} asked", peers_were(tried))]
    Silent {
        /// The requested name.
        name: Name,
        /// The peers that were asked, each with its error.
        tried: Vec<Attempt>,
    },
    /// The newest release that peers offer is older than the one in the store.
    #[error("rollback refused: peers offer version {offered} of {name}, the store has version {floor}")]
    Rollback {
        /// The requested name.
        name: Name,
        /// The newest version that peers offer.
        offered: u64,
        /// The version of the release in the store.
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
            Self::NoneValid { .. } => Some("check that the trust root is the root of this publisher"),
            _ => None,
        }
    }

    fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::NotFound { asked, .. } => asked.clone(),
            Self::NoneValid { refused, .. } => refused.clone(),
            Self::Silent { tried, .. } => tried.clone(),
            _ => Vec::new(),
        }
    }
}
