//! What the command lines that fetch share: a whole fetch, its report and its errors, on top of what all of Phase's
//! command lines share.

mod fault;
mod fetch;
mod report;

pub use fetch::{FetchArgs, Fetched, Observer, fetch};
pub use phase_transfer::cli::*;
pub use report::{json_answer, json_entry, json_peers, json_report, peer_lines, summary_line, verdict_text};
