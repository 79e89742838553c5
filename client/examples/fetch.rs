//! Fetches the newest release of a name into a folder:
//! `cargo run -p phase-client --example fetch -- BOOTSTRAP NAME ROOT STORE FOLDER`
//!
//! The store in the folder `STORE` keeps verified chunks, so that an interrupted fetch resumes. The fetched files are
//! exported to `FOLDER`.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use phase_client::{Client, FetchOptions, ResolveOptions, Trust};
use phase_core::handover::{Mode, Target, export};
use phase_core::{FileStore, Name, TrustRoot, TrustedTime};
use phase_node::{NodeConfig, Role};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, name, root, store, folder] = arguments.as_slice() else {
        return Err("usage: fetch BOOTSTRAP NAME ROOT STORE FOLDER".into());
    };
    let name: Name = name.parse()?;
    #[expect(clippy::disallowed_methods, reason = "only programs read the clock; libraries get the time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let trust = Trust { root: TrustRoot::decode_trusted(&std::fs::read(root)?)?, time: TrustedTime(now) };

    let store = Arc::new(FileStore::open(store)?);
    let node = NodeConfig::in_dht(Role::Client, Vec::new(), vec![bootstrap.parse()?]);
    let client = Client::start(store.clone(), node).await?;
    let release = client.resolve(&name, &trust, ResolveOptions::default()).await?;
    let report = client.fetch(&release, FetchOptions::default()).finish().await?;
    export(store.as_ref(), &release.manifest.artifacts, &Target::Folder(folder.into()), Mode::Copy)?;
    println!("fetched {} bytes; peers: {}", report.total, report.peers.len());
    client.stop().await;
    Ok(())
}
