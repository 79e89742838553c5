//! What the commands that use the network have in common.

use std::sync::Arc;

use phase_client::cli::{self, BootstrapArgs, Fault, Signals};
use phase_client::{Client, ClientConfig};
use phase_core::Failure;
use phase_core::store::{MemStore, Store};
use phase_transfer::net::Identity;

/// Runs a command's asynchronous part.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    cli::warn_of_key_log();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(work)
}

/// Runs a question to the network until it is answered or a signal comes.
pub(crate) fn ask<T>(question: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            answer = question => answer,
            () = signals.next() => Err(Fault::new(Failure::Interrupted, "interrupted")),
        }
    })
}

/// A node that asks and serves nothing. Without a store it keeps nothing.
pub(crate) async fn join(bootstrap: &BootstrapArgs, store: Option<Arc<dyn Store>>) -> Result<Client, Fault> {
    let config = ClientConfig {
        store: store.unwrap_or_else(|| Arc::new(MemStore::default())),
        identity: Identity::ephemeral(),
        listen: Vec::new(),
        bootstrap: bootstrap.choose()?,
    };
    Ok(Client::start(config).await?)
}
