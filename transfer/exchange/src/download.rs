//! The driver of the [scheduler](phase_protocol::scheduler): links in, verified chunks in the store out.
//!
//! One task runs a fixed sequence: carry out the scheduler's actions, wait for the next thing that happens, tell the
//! scheduler. Hashing and disk writes run on blocking threads, a bounded number at a time; while they are behind,
//! nothing is taken from the links, so the peers are slowed down instead of memory filled.

mod artifacts;
mod config;
mod driver;
mod error;
mod inputs;
mod jobs;
mod peer_links;
mod report;

pub use config::Config;
pub use driver::run;
pub use error::DownloadError;
pub use inputs::{Inputs, LinkEvents, LinkOpener, Wanted, links};
pub use report::{PeerReport, Progress, Report, Verdict};
