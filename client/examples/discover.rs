//! Resolves a name and prints its newest release and the peers that offer this release:
//! `cargo run -p phase-client --example discover -- BOOTSTRAP NAME ROOT`
//!
//! `BOOTSTRAP` is the address of a node of the network, such as `/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…`. `ROOT` is the
//! file that contains the trust root.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use phase_client::{Client, ResolveOptions, Trust};
use phase_core::{MemStore, Name, TrustRoot, TrustedTime};
use phase_node::{NodeConfig, Role};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, name, root] = arguments.as_slice() else {
        return Err("usage: discover BOOTSTRAP NAME ROOT".into());
    };
    let name: Name = name.parse()?;
    #[expect(clippy::disallowed_methods, reason = "only programs read the clock; libraries get the time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let trust = Trust { root: TrustRoot::decode_trusted(&std::fs::read(root)?)?, time: TrustedTime(now) };

    let node = NodeConfig::in_dht(Role::Client, Vec::new(), vec![bootstrap.parse()?]);
    let client = Client::start(Arc::new(MemStore::default()), node).await?;
    let release = client.resolve(&name, &trust, ResolveOptions::default()).await?;
    println!("{name} is version {}, manifest {}", release.manifest.version, release.manifest_cid);
    for provider in &release.providers {
        println!("{provider} offers this release");
    }
    client.stop().await;
    Ok(())
}
