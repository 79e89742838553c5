//! A test network, releases, and hostile providers.

pub(crate) mod hostile;
pub(crate) mod release;
pub(crate) mod world;
