//! The front page of Phase's documentation. This library has no code, because the command line `phase` is a program.
//!
//! Phase distributes signed boot files from many machines to many machines. A publisher signs a list of files. Machines
//! find the list by its name, fetch the files in chunks from every peer that has some of them, and verify every byte.
//!
//! # Chapters
//!
//! 1. [`concepts`]: content, names, trust, and how they lead to a verified file
//! 2. [`network`]: how nodes find each other and exchange chunks
//! 3. [`embedding`]: how to use the libraries in your own program
//! 4. [`glossary`]: the words of Phase, each with one meaning
//!
//! # Crates
//!
//! | crate | read it to |
//! |---|---|
//! | [`phase_core`] | make and verify CIDs, manifests and signatures; store and publish artifacts |
//! | `phase_protocol` | understand the wire format, the download scheduler and the upload queue |
//! | [`phase_node`] | run a libp2p node: transports, DHT, local network, streams, metrics |
//! | `phase_transfer` | move chunks over streams: links, downloads, the server |
//! | [`phase_client`] | resolve a name and fetch a release |
//! | [`phase_provider`] | serve and announce a store |
//! | [`phase_cli`] | share arguments, messages and exit codes between command lines |
//!
//! The repository has more documents: `README.md` for users, `docs/protocol.md` for clients in other languages, and
//! `ARCHITECTURE.md` for contributors.

#[doc = include_str!("book/concepts.md")]
pub mod concepts {}

#[doc = include_str!("book/network.md")]
pub mod network {}

#[doc = include_str!("book/embedding.md")]
pub mod embedding {}

#[doc = include_str!("../../docs/glossary.md")]
pub mod glossary {}
