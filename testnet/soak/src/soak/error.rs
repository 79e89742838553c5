//! Errors of a soak.

use std::io;

use phase_client::{FetchError, ResolveError, StartError};
use phase_core::{PublishError, StoreError};
use phase_provider::ProviderError;

/// An error from setting up or running a soak.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The temporary folder for the stores cannot be created or written.
    #[error("cannot use the temporary folder")]
    Folder(#[source] io::Error),
    /// The tokio runtime, or a socket of a proxy, cannot be created.
    #[error("cannot set up the network")]
    Network(#[source] io::Error),
    /// A provider has no address for QUIC.
    #[error("a provider does not listen on QUIC")]
    Address,
    /// The store of a provider cannot be opened or written.
    #[error("cannot publish the releases")]
    Store(#[from] StoreError),
    /// A release cannot be published.
    #[error("cannot publish the releases")]
    Publish(#[from] PublishError),
    /// A provider does not start.
    #[error("a provider does not start")]
    Provider(#[from] ProviderError),
    /// A client does not start.
    #[error("a client does not start")]
    Client(#[from] StartError),
    /// A long-lived client cannot resolve a release during the start of the soak, before the first fault.
    #[error("a client cannot resolve a release")]
    Resolve(#[from] ResolveError),
    /// A long-lived client cannot fetch a release during the start of the soak, before the first fault.
    #[error("a client cannot fetch a release")]
    Fetch(#[from] FetchError),
    /// A task of the soak itself panicked.
    #[error("a task of the soak panicked")]
    Panic,
}
