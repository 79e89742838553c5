//! What an instance of the service tells of.

use libp2p::{Multiaddr, PeerId};
use phase_core::Name;

/// The service type of Phase.
pub const SERVICE_TYPE: &str = "_phase-image._tcp.local.";

/// A release that somebody on the local network claims to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRelease {
    /// Who is said to answer there. The handshake tells.
    pub peer: PeerId,
    /// Where to dial, TCP only, without `/p2p`: at least one address, at most 16.
    pub addresses: Vec<Multiaddr>,
    /// What is said to be served.
    pub name: Name,
    /// The manifest's version, as claimed.
    pub version: u64,
    /// The TCP port of the HTTP endpoint, if one is claimed.
    pub http_port: Option<u16>,
}
