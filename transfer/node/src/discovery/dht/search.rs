//! Searches: DHT queries whose results arrive one by one.

use tokio::sync::{mpsc, oneshot};

use crate::discovery::dht::query::{QueryError, QueryReport};

/// The capacity of the channel for the results of one search.
const RESULT_QUEUE: usize = 64;

/// The sender with which a query reports its outcome to the caller.
pub(crate) type QueryReply = oneshot::Sender<Result<QueryReport, QueryError>>;

/// The receiving end of a running search. Dropping it ends the search.
#[derive(Debug)]
pub struct Search<T> {
    found: mpsc::Receiver<T>,
    outcome: oneshot::Receiver<Result<QueryReport, QueryError>>,
}

impl<T> Search<T> {
    /// Waits for the next result. Returns `None` when the search has ended.
    pub async fn recv(&mut self) -> Option<T> {
        self.found.recv().await
    }

    /// Waits for the end of the search, drops all further results, and returns the report.
    ///
    /// # Errors
    /// If the search failed, for example with a timeout.
    pub async fn finish(mut self) -> Result<QueryReport, QueryError> {
        while self.found.recv().await.is_some() {}
        self.outcome.await.unwrap_or(Err(QueryError::Stopped))
    }

    /// Waits for the end of the search. Returns the outcome and all results that [`recv`](Self::recv) has not returned.
    pub async fn collect(mut self) -> (Vec<T>, Result<QueryReport, QueryError>) {
        let mut all = Vec::new();
        while let Some(found) = self.recv().await {
            all.push(found);
        }
        (all, self.outcome.await.unwrap_or(Err(QueryError::Stopped)))
    }
}

/// The sending end of a search: sends the results and the outcome to the [`Search`].
#[derive(Debug)]
pub(crate) struct SearchSender<T> {
    found: mpsc::Sender<T>,
    outcome: QueryReply,
}

impl<T> SearchSender<T> {
    /// Sends a result. Returns `false` if the receiving end was dropped, so that no more results are needed.
    pub(crate) fn send(&self, found: T) -> bool {
        match self.found.try_send(found) {
            // If 64 results are waiting, further results are dropped, because the receiver already has enough results.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Returns whether the receiving end of the search still exists.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.found.is_closed()
    }

    /// Sends `outcome` and ends the search.
    pub(crate) fn end(self, outcome: Result<QueryReport, QueryError>) {
        // Sending fails if the caller has dropped the search. Then the outcome is not needed.
        let _ = self.outcome.send(outcome);
    }
}

/// Creates the sending end and the receiving end of a search.
pub(crate) fn search<T>() -> (SearchSender<T>, Search<T>) {
    let (sender, found) = mpsc::channel(RESULT_QUEUE);
    let (reply, outcome) = oneshot::channel();
    (SearchSender { found: sender, outcome: reply }, Search { found, outcome })
}
