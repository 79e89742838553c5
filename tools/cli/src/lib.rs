//! The code that the command lines of Phase's programs share: errors and exit codes, logging, signals, the network
//! options, and a whole fetch with its report. The programs themselves only parse arguments and print.

mod exit;
mod fault;
mod fetch;
mod fetch_report;
mod network;
mod node;
mod process;
mod prune;
mod ram_profile;
mod text;
mod upload;

pub use exit::{EXIT_CODES, exit_code};
pub use fault::{Fault, FileError, attempt_lines, causes_text};
pub use fetch::{FetchArgs, Fetched, Observer, fetch};
pub use fetch_report::{
    incomplete_line, json_answer, json_entry, json_peers, json_report, peer_lines, summary_line, verdict_text,
};
pub use network::{address_error, parse_address, parse_peer_id, read_root};
pub use node::NodeArgs;
pub use phase_units::{ByteRate, Bytes, counted, duration, parse_duration, seconds};
pub use process::{Printer, Signals, init_logging, now, print, raise_descriptor_limit, warn_of_key_log, warn_of_store};
pub use prune::PruneArgs;
pub use text::printable;
pub use upload::UploadArgs;
