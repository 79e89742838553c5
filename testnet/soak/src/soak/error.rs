//! Why a soak does not begin.

use std::io;

use phase_client::{FetchError, ResolveError, StartError};
use phase_core::{PublishError, StoreError};
use phase_provider::ProviderError;

/// Why there is no soak.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The folder for the stores.
    #[error("cannot use a temporary folder")]
    Folder(#[source] io::Error),
    /// The runtime, or a socket of a line.
    #[error("cannot set up the network")]
    Network(#[source] io::Error),
    /// A provider that listens nowhere.
    #[error("a provider does not listen on QUIC")]
    Address,
    /// A store.
    #[error("cannot publish")]
    Store(#[from] StoreError),
    /// What is published.
    #[error("cannot publish")]
    Publish(#[from] PublishError),
    /// A provider.
    #[error("a provider does not start")]
    Provider(#[from] ProviderError),
    /// A client.
    #[error("a client does not start")]
    Client(#[from] StartError),
    /// Before anything goes wrong on purpose.
    #[error("a client finds nothing")]
    Resolve(#[from] ResolveError),
    /// Before anything goes wrong on purpose.
    #[error("a client fetches nothing")]
    Fetch(#[from] FetchError),
    /// A task of the soak itself.
    #[error("a task of the soak panicked")]
    Panic,
}
