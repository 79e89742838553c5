//! Measures how long a new client that knows one bootstrap peer takes from its start until it has verified a manifest.
//!
//! The bench starts a network of 20 nodes over TCP on loopback. One of the nodes provides a release. Then the bench
//! runs new clients one after another. Each client starts a node, joins through one random bootstrap peer, and resolves
//! the name. The measurement ends with the first verified answer.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use phase_benches::release::{NAME, NOW, publish};
use phase_benches::stats::median;
use phase_benches::{Result, chain};
use phase_client::{Client, ResolveOptions, Trust};
use phase_core::store::FileStore;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_node::{Multiaddr, NodeConfig, Role};
use phase_provider::{Provider, ProviderConfig};
use phase_report::table::Table;
use phase_soak::dht::{Network, NetworkConfig};
use serde_json::json;
use tokio::time::Instant;

/// Start new clients in a small network, one after another, and print the time until each has a verified manifest.
#[derive(Parser)]
#[command(name = "cold-start")]
struct Options {
    /// Number of nodes in the network, including the provider.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
    nodes: u32,
    /// Number of clients.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// RNG seed that determines which bootstrap peers the nodes and clients use. Default: the process id.
    #[arg(long)]
    seed: Option<u64>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The times that one client took, in milliseconds.
struct Taken {
    start: f64,
    resolve: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ran = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(run(&options)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let listen: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let joining = Instant::now();
    let nodes = options.nodes as usize - 1;
    let config = NetworkConfig { listen: listen.clone(), seed, clients: 0, ..NetworkConfig::new(nodes) };
    let mut network = Network::start(config).await?;
    let joined = joining.elapsed().as_secs_f64();
    let trust = publish_release(folder.path())?;
    let node = NodeConfig::in_dht(Role::Server, vec![listen], network.bootstrap_peers());
    let provider = Provider::start(ProviderConfig::new(folder.path().join("store"), node)).await?;
    provider.announced().wait_for(|announced| announced.wanted > 0 && announced.done == announced.wanted).await?;
    let mut all = Vec::new();
    for number in 0..options.clients {
        let store = folder.path().join(number.to_string());
        all.push(cold_start(&store, &mut network, &trust).await?);
    }
    print(options, seed, joined, &all);
    Ok(())
}

fn publish_release(folder: &Path) -> Result<Trust> {
    let (file, root) = (folder.join("file"), folder.join("root"));
    std::fs::write(&file, [7; 100_000])?;
    publish(&folder.join("store"), std::slice::from_ref(&file), &root)?;
    Ok(Trust { root: TrustRoot::decode_trusted(&std::fs::read(root)?)?, time: TrustedTime(NOW) })
}

async fn cold_start(store: &Path, network: &mut Network, trust: &Trust) -> Result<Taken> {
    let store = Arc::new(FileStore::open(store)?);
    let first = network.bootstrap_peers().into_iter().take(1).collect();
    let begun = Instant::now();
    let client = Client::start(store, NodeConfig::in_dht(Role::Client, Vec::new(), first)).await?;
    let start = begun.elapsed().as_secs_f64() * 1e3;
    let one_answer = ResolveOptions { answers: 1, ..ResolveOptions::default() };
    let resolved = client.resolve(&NAME.parse()?, trust, one_answer).await?;
    let resolve = resolved.elapsed.as_secs_f64() * 1e3;
    client.stop().await;
    Ok(Taken { start, resolve })
}

fn print(options: &Options, seed: u64, joined: f64, all: &[Taken]) {
    let parts: [(&str, Vec<f64>); 3] = [
        ("start", all.iter().map(|taken| taken.start).collect()),
        ("resolve", all.iter().map(|taken| taken.resolve).collect()),
        ("both", all.iter().map(|taken| taken.start + taken.resolve).collect()),
    ];
    let rows = parts.map(|(part, times)| (part, median(times.iter().copied()), p95(times)));
    if options.json {
        let times = rows.map(|(part, median, p95)| (part.to_owned(), json!({ "median_ms": median, "p95_ms": p95 })));
        let times: serde_json::Map<_, _> = times.into_iter().collect();
        println!("{}", json!({ "seed": seed, "nodes": options.nodes, "join_seconds": joined, "clients": times }));
        return;
    }
    println!("nodes that have joined after {joined:.2} s: {} (seed {seed})", options.nodes - 1);
    let mut table = Table::of(["", "median", "95 %"]);
    for (part, median, p95) in rows {
        table.row([part.to_owned(), format!("{median:.0} ms"), format!("{p95:.0} ms")]);
    }
    print!("{table}");
}

/// Returns the 95th percentile of these times.
fn p95(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * 95).div_ceil(100) - 1]
}
