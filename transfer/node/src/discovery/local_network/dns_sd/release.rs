//! The release that a service instance announces.

use libp2p::{Multiaddr, PeerId};
use phase_core::Name;

/// The DNS-SD service type of Phase.
pub const SERVICE_TYPE: &str = "_phase-image._tcp.local.";

/// A release that a peer on the local network claims to serve. None of its fields is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRelease {
    /// The claimed peer id of the peer at `addresses`. Only the handshake of a connection proves this claim.
    pub peer: PeerId,
    /// The TCP addresses at which the peer can be dialled, without `/p2p`: at least 1, at most 16.
    pub addresses: Vec<Multiaddr>,
    /// The name of the release.
    pub name: Name,
    /// The claimed version of the release.
    pub version: u64,
    /// The claimed TCP port of the peer's HTTP endpoint, if any.
    pub http_port: Option<u16>,
}
