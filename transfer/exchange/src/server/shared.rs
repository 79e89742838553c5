//! The state that all sessions of a server share.

use std::sync::Arc;

use phase_node::NodeHandle;

use crate::catalog::Catalog;
use crate::server::interest::Interest;
use crate::server::subscriptions::Subscribers;
use crate::server::uploader::Uploader;

/// The state that all sessions of a server share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) node: NodeHandle,
    pub(super) catalog: Arc<Catalog>,
    pub(super) uploader: Uploader,
    pub(super) interest: Arc<Interest>,
    pub(super) subscribers: Subscribers,
}
