//! Builds a Swarm on the transports of a node.

use std::num::NonZeroU8;

use libp2p::Swarm;
use libp2p::identity::Keypair;
use libp2p::swarm::{self, NetworkBehaviour};

use crate::error::NodeError;
use crate::transport::config::TransportConfig;
use crate::transport::stack::connections;

/// The limit on addresses of one peer that are dialled at a time. It is high enough to dial all known addresses at once
/// in most cases, so that addresses that do not answer do not delay the others.
const DIALS_PER_PEER: NonZeroU8 = NonZeroU8::new(24).expect("24 is not zero");

/// Builds a Swarm without listeners.
///
/// # Errors
/// [`NodeError::Transport`] if the key cannot be used for TLS or Noise.
pub(crate) fn build_swarm<B: NetworkBehaviour>(
    keypair: &Keypair,
    config: &TransportConfig,
    behaviour: B,
) -> Result<Swarm<B>, NodeError> {
    let transport = connections(keypair, config)?;
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(config.idle_timeout)
        .with_dial_concurrency_factor(DIALS_PER_PEER);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
}
