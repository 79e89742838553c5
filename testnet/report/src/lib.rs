//! What runs of the testnet showed, as files for machines and for people.
//!
//! ```text
//! lab::Record ───► pictures, summary.md, index.html
//!   containers        │
//!                     ├──► chart::Sheet ──► svg      one renderer of pictures
//! swarm::Outcome ──► ─┤
//!   simulator         ├──► table::Table ──► text, Markdown, HTML
//!                     └──► page::Page ────► Markdown, HTML
//! ```
//!
//! [`lab`] and [`swarm`] have each their data model, whose JSON form is kept, and say what is shown of it. How it is shown is
//! the same for both.
//!
//! Invariant: names in a record come from files that any person may have written. In a picture, a table and a page they
//! are text and nothing else.

mod chart;
mod escape;
pub mod lab;
mod page;
mod points;
mod svg;
pub mod swarm;
pub mod table;
