//! Reports of testnet runs: JSON for programs; tables, pages and pictures for people.
//!
//! ```text
//! lab::Record ───► pictures, summary.md, index.html
//!   containers        │
//!                     ├──► chart::Sheet ──► svg      one renderer for all pictures
//! swarm::Outcome ──► ─┤
//!   simulator         ├──► table::Table ──► text, Markdown, HTML
//!                     └──► page::Page ────► Markdown, HTML
//! ```
//!
//! [`lab`] and [`swarm`] each have a data model with a stable JSON form, and choose which figures to show. Both use the
//! same charts, tables and pages.
//!
//! Invariant: names in a record come from untrusted files. Pictures, tables and pages escape these names, so that a
//! name is never markup.

mod chart;
mod escape;
pub mod lab;
mod page;
mod points;
mod svg;
pub mod swarm;
pub mod table;
