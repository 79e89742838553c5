//! Releases, nodes, and everything in them that does not behave.

pub(crate) mod hostile;
pub(crate) mod release;
pub(crate) mod world;
