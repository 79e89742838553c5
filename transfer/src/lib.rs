//! How Phase moves chunks: the wire protocol, the download scheduler and the upload queue, all without I/O; with feature
//! `net` also the libp2p node and the drivers around them; with feature `cli` what the command lines share.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;
pub mod peer;
pub mod scheduler;
pub mod upload;
pub mod wire;
