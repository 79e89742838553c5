//! Resolves a Phase name and fetches what it names, from every provider that can be found.
//!
//! ```text
//! Client ── resolve ──► Resolved (a verified manifest and who has it)
//!        └─ fetch ────► discovery ► links ► index blocks ► download ► store
//! ```
//!
//! A client serves what it has verified while it still fetches. It keeps no trust of its own: every manifest is
//! checked against the trust root it was started with.

pub mod cli;

mod discovery;
mod export;
mod fetch;
mod fetch_error;
mod indexes;
mod memory;
mod pool;
mod resolve;
mod sources;
mod start;

pub use export::{ExportError, export};
pub use fetch::{Fetch, FetchOptions, Selection};
pub use fetch_error::FetchError;
pub use memory::MemoryProfile;
pub use phase_transfer::net::download::{PeerReport, Progress, Report, Verdict};
pub use resolve::{Answer, ResolveError, ResolveOptions, Resolved};
pub use start::{Client, StartError, Trust};
