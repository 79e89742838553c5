//! The DHT methods of a node handle.

use phase_core::DhtKey;
use tokio::sync::OwnedSemaphorePermit;

use crate::command::Command;
use crate::discovery::dht::command::{DhtCommand, DhtQuery};
use crate::discovery::dht::query::{DhtTarget, FoundProvider, FoundValue, QueryError, QueryReport, RoutingPeer};
use crate::discovery::dht::search::{QueryReply, Search, SearchSender, search};
use crate::handle::NodeHandle;
use crate::metrics::DhtStats;

impl NodeHandle {
    /// Searches the DHT for providers of `key`. The node starts to dial the first providers when it finds them.
    pub async fn find_providers(&self, key: &DhtKey) -> Search<FoundProvider> {
        self.search(|search| DhtQuery::FindProviders { key: key.clone(), search }).await
    }

    /// Searches the DHT for values under `key`. The values are not verified.
    pub async fn find_values(&self, key: &DhtKey) -> Search<FoundValue> {
        self.search(|search| DhtQuery::FindValues { key: key.clone(), search }).await
    }

    /// Searches for the DHT servers closest to `target` by the XOR metric. At most 20 servers are found, and all of
    /// them arrive at the end of the search, the closest first.
    pub async fn find_closest(&self, target: impl Into<DhtTarget>) -> Search<FoundProvider> {
        self.search(|search| DhtQuery::FindClosest { target: target.into(), search }).await
    }

    /// Stores a value at the nodes closest to `key`. A node may acknowledge the value and then not keep it, because it
    /// verifies the value itself.
    ///
    /// # Errors
    /// If no node acknowledged the value.
    pub async fn put(&self, key: &DhtKey, value: Vec<u8>) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Put { key: key.clone(), value, reply }).await
    }

    /// Provides `key` by sending a provider record to the nodes closest to `key`. The nodes do not acknowledge the
    /// record. To wait until it has arrived, use [`wait_until_announced`](Self::wait_until_announced).
    ///
    /// # Errors
    /// If the closest nodes could not be found in time.
    pub async fn provide(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Provide { key: key.clone(), reply }).await
    }

    /// Stops providing `key` and sends a withdrawal to the nodes closest to `key`. The nodes do not acknowledge the
    /// withdrawal. To wait until it has arrived, use [`wait_until_announced`](Self::wait_until_announced).
    ///
    /// This node removes its own value under `key`. Other nodes keep the value until it expires.
    ///
    /// # Errors
    /// If the closest nodes could not be found in time.
    pub async fn withdraw(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.stop_providing(key, false).await
    }

    /// Like [`withdraw`](Self::withdraw), but sends no withdrawal if this node does not provide `key`.
    ///
    /// # Errors
    /// The errors of [`withdraw`](Self::withdraw).
    pub async fn withdraw_provided(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.stop_providing(key, true).await
    }

    async fn stop_providing(&self, key: &DhtKey, only_provided: bool) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Withdraw { key: key.clone(), only_provided, reply }).await
    }

    /// Waits until the announcements for `key` have arrived, by sending another query to the nodes closest to `key` and
    /// waiting for the answers. Without this wait, an announcement may be lost if the node stops immediately.
    pub async fn wait_until_announced(&self, key: &DhtKey) {
        // Only the end of the query matters, so its result is ignored.
        let _ = self.find_values(key).await.finish().await;
    }

    /// Returns the peers in the routing table of this node. The list is empty without a DHT.
    pub async fn routing_table(&self) -> Vec<RoutingPeer> {
        self.ask(|reply| Command::Dht(DhtCommand::Routing { reply })).await.unwrap_or_default()
    }

    /// Returns the DHT figures of this node, or `None` without a DHT.
    pub async fn dht_stats(&self) -> Option<DhtStats> {
        self.ask(|reply| Command::Dht(DhtCommand::Stats { reply })).await
    }

    /// Starts a query whose results arrive one by one. If the node has been stopped, the sender is dropped, which ends
    /// the search.
    async fn search<T>(&self, query: impl FnOnce(SearchSender<T>) -> DhtQuery) -> Search<T> {
        let (sender, found) = search();
        let permit = self.query_permit().await;
        self.send(Command::Dht(DhtCommand::Query(query(sender), permit))).await;
        found
    }

    /// Runs a query whose only result is a report.
    async fn ask_dht(&self, query: impl FnOnce(QueryReply) -> DhtQuery) -> Result<QueryReport, QueryError> {
        let permit = self.query_permit().await;
        let asked = self.ask(|reply| Command::Dht(DhtCommand::Query(query(reply), permit)));
        asked.await.unwrap_or(Err(QueryError::Stopped))
    }

    /// Waits until fewer than [`MAX_QUERIES`](crate::handle::MAX_QUERIES) queries run.
    async fn query_permit(&self) -> OwnedSemaphorePermit {
        self.queries.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}
