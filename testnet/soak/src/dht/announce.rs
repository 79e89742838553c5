//! Announces names in the DHT. Each name has a signed pointer and one node that provides it.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use phase_core::codec::V1;
use phase_core::dht::DhtRecord as _;
use phase_core::{Cid, Codec, DhtKey, Digest, HashAlgorithm, Name, Pointer, SigningKey};
use phase_node::{NodeHandle, PeerId, QueryError};

use super::network::{AnnouncedName, Network, NetworkError};

/// The number of DHT keys that are announced at a time, over all nodes.
const MAX_ANNOUNCING: usize = 8;

/// The number of attempts to make one query.
const TRIES: usize = 3;

impl Network {
    /// Adds `names` new names and assigns each to a random server. The server announces its name: for each DHT key of
    /// the name, it puts the pointer and provides the key.
    ///
    /// # Errors
    /// [`NetworkError::Announce`] if a key cannot be announced.
    pub async fn announce(&mut self, names: usize) -> Result<(), NetworkError> {
        let key = SigningKey::from_secret_bytes(&[1; 32]);
        for number in self.announced_names.len()..self.announced_names.len() + names {
            let name: Name = format!("testnet/n{number}").parse().expect("letters and digits");
            let (pointer, announcer) = (pointer(&name, &key), self.any_server());
            self.announced_names.push(AnnouncedName { name, pointer, announcer });
        }
        self.announce_all().await
    }

    /// Announces all names again. Reassigns the names of killed servers to other servers.
    ///
    /// # Errors
    /// [`NetworkError::Announce`] if a key cannot be announced.
    pub async fn republish(&mut self) -> Result<(), NetworkError> {
        for number in 0..self.announced_names.len() {
            if self.server(&self.announced_names[number].announcer).is_none() {
                self.announced_names[number].announcer = self.any_server();
            }
        }
        self.announce_all().await
    }

    async fn announce_all(&self) -> Result<(), NetworkError> {
        let announcements = self.announced_names.iter().filter_map(|announced| {
            let node = self.server(&announced.announcer)?;
            Some(
                DhtKey::Name(announced.name.clone())
                    .copies()
                    .into_iter()
                    .map(move |key| announce(node, key, &announced.pointer)),
            )
        });
        let running = stream::iter(announcements.flatten()).buffer_unordered(MAX_ANNOUNCING);
        Ok(running.try_collect::<()>().await?)
    }

    fn server(&self, peer: &PeerId) -> Option<&NodeHandle> {
        self.servers().find(|server| server.peer_id() == *peer)
    }

    fn any_server(&mut self) -> PeerId {
        let chosen = self.random.usize(..self.servers.len());
        self.servers[chosen].handle().peer_id()
    }
}

async fn announce(node: &NodeHandle, key: DhtKey, pointer: &[u8]) -> Result<(), QueryError> {
    retry_timeouts(|| node.put(&key, pointer.to_vec())).await?;
    retry_timeouts(|| node.provide(&key)).await?;
    node.wait_until_announced(&key).await;
    Ok(())
}

/// Repeats a query that timed out, as a provider does. A query times out if too many nodes on its path are silent.
async fn retry_timeouts<T>(attempt: impl AsyncFn() -> Result<T, QueryError>) -> Result<T, QueryError> {
    for _ in 1..TRIES {
        match attempt().await {
            Err(QueryError::Timeout { .. }) => {}
            result => return result,
        }
    }
    attempt().await
}

fn pointer(name: &Name, key: &SigningKey) -> Vec<u8> {
    let pointer = Pointer {
        v: V1,
        name: name.clone(),
        manifest: Some(Cid::new(Codec::DagCbor, HashAlgorithm::Blake3, Digest::new([7; 32]))),
        version: 1,
        issued_at: 1,
        expires_at: u64::MAX,
        urls: Vec::new(),
    };
    pointer.seal(key).expect("a small pointer that does not expire")
}
