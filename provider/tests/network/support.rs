//! Providers on loopback, a published release, and a small HTTP client.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use phase_core::publish::{Draft, Publisher, ReleaseFile};
use phase_core::{Envelope, FileStore, Name, SigningKey, TrustRoot};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource};
use phase_node::{NodeConfig, NodeHandle, Role};
use phase_provider::{Provider, ProviderConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest time for one test. A test that takes longer counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);
/// The time between two checks of a condition.
const POLL: Duration = Duration::from_millis(10);

/// Runs a test, and panics if it takes longer than [`LIMIT`].
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test hangs")
}

/// Polls a condition until it is true.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(POLL).await;
    }
}

/// Returns a loopback address with port 0, so that the system chooses a port.
pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Returns the configuration of a provider on loopback, with HTTP.
pub(crate) fn config(store: &Path, bootstrap: &[BootstrapSource]) -> ProviderConfig {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let node = NodeConfig { bootstrap: bootstrap.to_vec(), ..NodeConfig::in_dht(Role::Server, listen, Vec::new()) };
    ProviderConfig { http: Some(any_port()), ..ProviderConfig::new(store.to_owned(), node) }
}

/// Starts a provider. Unless `bootstrap` is empty, waits until the provider has joined the network.
pub(crate) async fn start(store: &Path, bootstrap: &[BootstrapSource]) -> Provider {
    let provider = Provider::start(config(store, bootstrap)).await.unwrap();
    if !bootstrap.is_empty() {
        joined(provider.node()).await;
    }
    provider
}

/// Waits until a node is connected to a DHT server.
pub(crate) async fn joined(node: &NodeHandle) {
    node.routing_peers().wait_for(|peers| *peers > 0).await.unwrap();
}

/// Returns the first listen address of a node, as a bootstrap source.
pub(crate) async fn source(node: &NodeHandle) -> BootstrapSource {
    let address = node.listen_addresses().await[0].clone();
    BootstrapPeer { peer: Some(node.peer_id()), address }.into()
}

/// Publishes version 1 of a release. See [`publish_version`].
pub(crate) fn publish(folder: &Path, files: usize) -> usize {
    publish_version(folder, 1, files)
}

/// Publishes a release of `files` small files into a store. Returns the number of DHT keys to announce for it.
pub(crate) fn publish_version(folder: &Path, version: u64, files: usize) -> usize {
    let name: Name = "stable/x86_64".parse().unwrap();
    let (now, expires_at) = (500, 5_000);
    let sources = folder.with_extension("source");
    std::fs::create_dir_all(&sources).unwrap();
    for n in 0..files {
        std::fs::write(sources.join(format!("file-{n}")), n.to_be_bytes()).unwrap();
    }
    let key = SigningKey::from_secret_bytes(&[1; 32]);
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, expires_at);
    let root = Envelope::signed(&root, [&key]).unwrap().encode();
    let draft = Draft::new(&name, ReleaseFile::all_in(&sources).unwrap(), now, expires_at);
    let draft = draft.with_version(version).with_label(format!("release {version}"));
    let store = FileStore::open(folder).unwrap();
    Publisher::new(&root, vec![key]).unwrap().publish(&store, &draft, now, &mut |_| {}).unwrap();
    name.keys().len() + 1 + files
}

/// The response of an HTTP server.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the header fields, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get(provider: &Provider, path: &str) -> Answer {
    let mut connection = TcpStream::connect(provider.http_address().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
