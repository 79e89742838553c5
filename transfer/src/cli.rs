//! What the command lines of Phase's binaries share: errors and exit codes, logging, signals, the options about the
//! network. The binaries themselves only parse and print.

mod fault;
mod network;
mod node;
mod process;
mod text;
mod upload;

pub use fault::{Fails, Fault, FileError};
pub use network::read_root;
pub use node::NodeArgs;
pub use process::{Signals, init_logging, now, print, warn_of_key_log};
pub use text::{Bytes, Rate, parse_duration, parse_rate, printable};
pub use upload::UploadArgs;
