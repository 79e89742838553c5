//! A query whose results come one by one.

use tokio::sync::{mpsc, oneshot};

use crate::discovery::dht::query::{QueryError, QueryReport};

/// Results of one search that may wait for its reader.
const RESULT_QUEUE: usize = 64;

/// Where a query's outcome goes.
pub(crate) type QueryReply = oneshot::Sender<Result<QueryReport, QueryError>>;

/// A search that goes on: what is found comes one by one. Dropping it ends it.
#[derive(Debug)]
pub struct Search<T> {
    found: mpsc::Receiver<T>,
    outcome: oneshot::Receiver<Result<QueryReport, QueryError>>,
}

impl<T> Search<T> {
    /// The next result; `None` when the search is over.
    pub async fn recv(&mut self) -> Option<T> {
        self.found.recv().await
    }

    /// Waits for the end; what is still found is dropped.
    ///
    /// # Errors
    /// Whatever ended it before its time.
    pub async fn finish(mut self) -> Result<QueryReport, QueryError> {
        while self.found.recv().await.is_some() {}
        self.outcome.await.unwrap_or(Err(QueryError::Stopped))
    }

    /// Everything that is found, and what the search did.
    pub async fn collect(mut self) -> (Vec<T>, Result<QueryReport, QueryError>) {
        let mut all = Vec::new();
        while let Some(found) = self.recv().await {
            all.push(found);
        }
        (all, self.outcome.await.unwrap_or(Err(QueryError::Stopped)))
    }
}

/// The other end of a [`Search`].
#[derive(Debug)]
pub(crate) struct SearchSender<T> {
    found: mpsc::Sender<T>,
    outcome: QueryReply,
}

impl<T> SearchSender<T> {
    /// Passes on a result. `false`: nobody wants more.
    pub(crate) fn send(&self, found: T) -> bool {
        match self.found.try_send(found) {
            // A reader that has not read 64 results has enough for now.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.found.is_closed()
    }

    pub(crate) fn end(self, outcome: Result<QueryReport, QueryError>) {
        // Whoever asked may have stopped waiting.
        let _ = self.outcome.send(outcome);
    }
}

/// Both ends of a search.
pub(crate) fn search<T>() -> (SearchSender<T>, Search<T>) {
    let (sender, found) = mpsc::channel(RESULT_QUEUE);
    let (reply, outcome) = oneshot::channel();
    (SearchSender { found: sender, outcome: reply }, Search { found, outcome })
}
