//! Resolves a Phase name and fetches what it names, from every provider that can be found.
//!
//! ```text
//! Client ── resolve ──► Resolved (a verified manifest and who has it)
//!        └─ fetch ────► discovery ► links ► index blocks ► download ► store
//! ```
//!
//! A client serves what it has verified while it still fetches. It keeps no trust of its own: every manifest is
//! checked against the trust root it was started with.

mod client;
mod discovery;
mod export;
mod fetch;
mod fetch_error;
mod indexes;
mod pool;
mod resolve;
mod sources;

pub use client::{Client, StartError, Trust};
pub use export::{ExportError, export};
pub use fetch::{Fetch, FetchOptions, Selection};
pub use fetch_error::FetchError;
pub use phase_transfer::download::{PeerReport, Progress, Report, Verdict};
pub use resolve::{Answer, ResolveError, ResolveOptions, Resolved};
