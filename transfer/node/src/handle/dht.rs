//! What a node asks of the DHT.

use phase_core::DhtKey;
use tokio::sync::OwnedSemaphorePermit;

use crate::command::Command;
use crate::discovery::dht::command::{DhtCommand, DhtQuery};
use crate::discovery::dht::query::{DhtTarget, FoundProvider, FoundValue, QueryError, QueryReport, RoutingPeer};
use crate::discovery::dht::search::{QueryReply, Search, SearchSender, search};
use crate::handle::NodeHandle;
use crate::metrics::DhtStats;

impl NodeHandle {
    /// Providers of `key` as the DHT names them. Each of the first ones is being dialled when it is returned here.
    pub async fn find_providers(&self, key: &DhtKey) -> Search<FoundProvider> {
        self.search(|search| DhtQuery::FindProviders { key: key.clone(), search }).await
    }

    /// Values that DHT nodes hold under `key`, unverified.
    pub async fn find_values(&self, key: &DhtKey) -> Search<FoundValue> {
        self.search(|search| DhtQuery::FindValues { key: key.clone(), search }).await
    }

    /// The DHT servers closest to `target`, at most 20, the closest first by the XOR metric. They come all at once, when the
    /// search has ended.
    pub async fn find_closest(&self, target: impl Into<DhtTarget>) -> Search<FoundProvider> {
        self.search(|search| DhtQuery::FindClosest { target: target.into(), search }).await
    }

    /// Stores a value at the nodes closest to `key`. An acknowledgement does not mean that they keep it: each judges for
    /// itself.
    ///
    /// # Errors
    /// If none of them acknowledged it.
    pub async fn put(&self, key: &DhtKey, value: Vec<u8>) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Put { key: key.clone(), value, reply }).await
    }

    /// Tells the nodes closest to `key` that we provide it. They do not acknowledge it, see
    /// [`wait_until_announced`](Self::wait_until_announced).
    ///
    /// # Errors
    /// If they could not be found in time.
    pub async fn provide(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Provide { key: key.clone(), reply }).await
    }

    /// Stops providing `key`, tells the nodes closest to it, and forgets our own value there; others keep the value until
    /// its time is over. They do not acknowledge it, see [`wait_until_announced`](Self::wait_until_announced).
    ///
    /// # Errors
    /// If they could not be found in time.
    pub async fn withdraw(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.stop_providing(key, false).await
    }

    /// The same, but about what is not provided nothing is said.
    ///
    /// # Errors
    /// As of [`withdraw`](Self::withdraw).
    pub async fn withdraw_provided(&self, key: &DhtKey) -> Result<QueryReport, QueryError> {
        self.stop_providing(key, true).await
    }

    async fn stop_providing(&self, key: &DhtKey, only_provided: bool) -> Result<QueryReport, QueryError> {
        self.ask_dht(|reply| DhtQuery::Withdraw { key: key.clone(), only_provided, reply }).await
    }

    /// Waits until what was announced for `key` has arrived: asks the nodes closest to it for something else and awaits
    /// their answers. Whoever announces and then leaves without this may not be heard.
    pub async fn wait_until_announced(&self, key: &DhtKey) {
        // It is about the answers alone.
        let _ = self.find_values(key).await.finish().await;
    }

    /// The peers in our routing table; none without a DHT.
    pub async fn routing_table(&self) -> Vec<RoutingPeer> {
        self.ask(|reply| Command::Dht(DhtCommand::Routing { reply })).await.unwrap_or_default()
    }

    /// Figures about our part of the DHT; `None` without one.
    pub async fn dht_stats(&self) -> Option<DhtStats> {
        self.ask(|reply| Command::Dht(DhtCommand::Stats { reply })).await
    }

    /// A query whose results come one by one. A stopped node drops the sender, which ends the search.
    async fn search<T>(&self, query: impl FnOnce(SearchSender<T>) -> DhtQuery) -> Search<T> {
        let (sender, found) = search();
        let permit = self.query_permit().await;
        self.send(Command::Dht(DhtCommand::Query(query(sender), permit))).await;
        found
    }

    /// A query with one answer.
    async fn ask_dht(&self, query: impl FnOnce(QueryReply) -> DhtQuery) -> Result<QueryReport, QueryError> {
        let permit = self.query_permit().await;
        let asked = self.ask(|reply| Command::Dht(DhtCommand::Query(query(reply), permit)));
        asked.await.unwrap_or(Err(QueryError::Stopped))
    }

    async fn query_permit(&self) -> OwnedSemaphorePermit {
        self.queries.clone().acquire_owned().await.expect("the semaphore is never closed")
    }
}
