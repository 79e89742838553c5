//! Resolves a Phase name to a release, and fetches the artifacts of the release in parallel from all providers that it
//! finds.
//!
//! ```text
//! Client ── resolve ──► Resolved (a verified manifest and its providers)
//!        └─ fetch ────► peer search ► links ► index blocks ► download ► store
//! ```
//!
//! A client serves verified chunks to other peers while it still fetches. It stores no trust root, because the caller
//! passes one to every call of [`Client::resolve`].
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use phase_client::{Client, FetchOptions, ResolveOptions, Trust};
//! use phase_core::{MemStore, Name, TrustedTime};
//! use phase_node::NodeConfig;
//! # use phase_core::{Draft, Envelope, FileStore, Publisher, ReleaseFile, SigningKey, TrustRoot};
//! # use phase_node::Node;
//! # use phase_transfer::{catalog::Catalog, server::{self, Server}};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (seed, file) = (folder.path().join("seed"), folder.path().join("vmlinuz"));
//! # std::fs::write(&file, "the bytes of a kernel")?;
//! # let (now, later) = (1_700_000_000, 1_800_000_000);
//! # let name: Name = "stable/x86_64".parse()?;
//! # let key = SigningKey::generate()?;
//! # let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, later);
//! # let signed = Envelope::signed(&root, [&key])?.encode();
//! # let draft = Draft::new(&name, vec![ReleaseFile::new("kernel".parse()?, "vmlinuz".parse()?, &file)?], now, later);
//! # Publisher::new(&signed, vec![key])?.publish(&FileStore::open(&seed)?, &draft, now, &mut |_| {})?;
//! # let serving = Node::start(NodeConfig { listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?], ..NodeConfig::default() }).await?;
//! # let catalog = Arc::new(Catalog::new(Arc::new(FileStore::open(&seed)?)));
//! # let _server = Server::start(serving.handle(), catalog, server::Config::default());
//! # let address = format!("{}/p2p/{}", serving.handle().listen_addresses().await[0], serving.handle().peer_id());
//! // A client that asks one peer and keeps the artifacts in RAM. `address` is a multiaddr: /ip4/…/tcp/…/p2p/12D3KooW…
//! let node = NodeConfig { peers: vec![address.parse()?], ..NodeConfig::default() };
//! let client = Client::start(Arc::new(MemStore::default()), node).await?;
//!
//! // Find a manifest that the trust root accepts, then fetch its artifacts.
//! let trust = Trust { root, time: TrustedTime(now) };
//! let release = client.resolve(&name, &trust, ResolveOptions::default()).await?;
//! let report = client.fetch(&release, FetchOptions::default()).finish().await?;
//! assert_eq!((release.manifest.version, report.peers.len()), (1, 1));
//! client.stop().await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod client;
mod fetch;
mod fetch_error;
mod indexes;
mod peer_search;
mod pool;
mod resolve;
mod sources;

pub use answer::{Answer, AnswerError};
pub use client::{Client, StartError, Trust};
pub use fetch::{Fetch, FetchOptions, ProgressReceiver, Selection};
pub use fetch_error::FetchError;
pub use phase_transfer::download::{PeerReport, Progress, Report, Verdict};
pub use resolve::{ResolveError, ResolveOptions, Resolved};
