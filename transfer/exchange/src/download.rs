//! The driver of the [scheduler](phase_protocol::scheduler): fetches artifacts over links and writes verified chunks to
//! the store.
//!
//! One task repeats a fixed sequence: carry out the scheduler's actions, wait for the next event, pass it to the
//! scheduler. A bounded number of blocking threads hash chunks and write them to the disk. While all these threads are
//! busy, the driver takes no events from the links. This backpressure slows the peers down and bounds memory use.

mod aliases;
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
