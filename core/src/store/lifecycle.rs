//! The life cycle of a store: what is in it, what is damaged, what is kept and what is removed.
//!
//! The store has no list of releases. Every manifest in `blocks/` is a release, because its signatures were verified
//! before it was stored. The release to which a ref leads is current. A release needs its manifest, its artifacts and
//! their index blocks. Two releases may need the same artifact.
//!
//! Invariants, which hold even after a crash at any instruction:
//!
//! - A release is removed as a whole: first its ref, then its manifest, then what only this release needs. What the
//!   store lists is therefore always complete, and a later removal finds the rest as orphans.
//! - Nothing is removed that a ref, a pin or another release needs.
//! - Nothing is removed while a running provider still announces it (see [`served`]).
//! - What another process has just stored but not yet referenced stays: a file that belongs to no release is removed
//!   only when it is older than a time that the caller chooses. An import of content that the store already has counts
//!   as storing it. If a publisher needs longer than that time, setting the ref fails instead of leading nowhere
//!   ([`references`]).
//! - A partial artifact that a process has open stays.

pub(crate) mod inventory;
pub(crate) mod pins;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod references;
pub(crate) mod release;
pub(crate) mod scan;
pub(crate) mod served;
pub(crate) mod set_aside;
pub(crate) mod sweep;
pub(crate) mod verify;
