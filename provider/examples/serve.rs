//! Serves the store in the folder `STORE` to peers until Ctrl-C:
//! `cargo run -p phase-provider --example serve -- STORE [ADDRESS]`
//!
//! Prints the addresses that clients need. The provider listens on `ADDRESS`. Default: `/ip4/127.0.0.1/tcp/0`, which is
//! any free port on loopback.

use std::error::Error;
use std::path::PathBuf;

use phase_node::{NodeConfig, Role};
use phase_provider::{Provider, ProviderConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let store = PathBuf::from(arguments.next().ok_or("usage: serve STORE [ADDRESS]")?);
    let address = arguments.next().unwrap_or_else(|| "/ip4/127.0.0.1/tcp/0".to_owned());

    let node = NodeConfig::in_dht(Role::Server, vec![address.parse()?], Vec::new());
    let provider = Provider::start(ProviderConfig::new(store, node)).await?;
    for address in provider.addresses().await {
        println!("{address}");
    }
    tokio::signal::ctrl_c().await?;
    provider.stop().await;
    Ok(())
}
