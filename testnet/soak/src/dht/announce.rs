//! Announcing names, each with a signed pointer and a node that says it provides it.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use phase_core::codec::V1;
use phase_core::dht::DhtRecord as _;
use phase_core::{Cid, Codec, Digest, HashAlgorithm, Name, Pointer, SigningKey};
use phase_node::{NodeHandle, PeerId, QueryError};

use super::network::{Network, NetworkError, Subject};

/// Announcements under way at a time, over all nodes.
const ANNOUNCING: usize = 8;

/// How often something is announced before it fails.
const TRIES: usize = 3;

impl Network {
    /// Has random servers announce so many names, under each of their keys: a pointer, and that they provide it.
    ///
    /// # Errors
    /// If nobody keeps a pointer.
    pub async fn announce(&mut self, names: usize) -> Result<(), NetworkError> {
        let key = SigningKey::from_secret_bytes(&[1; 32]);
        for number in self.subjects.len()..self.subjects.len() + names {
            let name: Name = format!("testnet/n{number}").parse().expect("letters and digits");
            let (pointer, announcer) = (pointer(&name, &key), self.any_server());
            self.subjects.push(Subject { name, pointer, announcer });
        }
        self.tell().await
    }

    /// Announces everything again. What was announced by a node that is gone falls to another one.
    ///
    /// # Errors
    /// If nobody keeps a pointer.
    pub async fn republish(&mut self) -> Result<(), NetworkError> {
        for number in 0..self.subjects.len() {
            if self.server(&self.subjects[number].announcer).is_none() {
                self.subjects[number].announcer = self.any_server();
            }
        }
        self.tell().await
    }

    async fn tell(&self) -> Result<(), NetworkError> {
        let announcements = self.subjects.iter().filter_map(|subject| {
            let node = self.server(&subject.announcer)?;
            Some(subject.name.keys().into_iter().map(move |key| announce(node, key, &subject.pointer)))
        });
        let running = stream::iter(announcements.flatten()).buffer_unordered(ANNOUNCING);
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

async fn announce(node: &NodeHandle, key: String, pointer: &[u8]) -> Result<(), QueryError> {
    let key = key.as_bytes();
    patiently(|| node.put(key, pointer.to_vec())).await?;
    patiently(|| node.provide(key)).await?;
    node.settle(key).await;
    Ok(())
}

/// Says it again, as providers do, if the search before it ran out of time because too many on the way are silent.
async fn patiently<T>(say: impl AsyncFn() -> Result<T, QueryError>) -> Result<T, QueryError> {
    for _ in 1..TRIES {
        match say().await {
            Err(QueryError::Timeout { .. }) => {}
            said => return said,
        }
    }
    say().await
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
    pointer.seal(key).expect("a small pointer that lives long")
}
