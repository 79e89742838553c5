//! Compares fetching many small artifacts of one manifest with fetching one artifact of the same size.
//!
//! A provider and a client in this process, over TCP with TLS on loopback; the client starts with an empty store each time.
//! The ratio is what each artifact costs beyond its bytes: index, files, syncs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use phase_benches::measure::{Stopwatch, Taken};
use phase_benches::release::{self, NAME, NOW};
use phase_benches::stats::{median, range};
use phase_benches::{Result, chain, input};
use phase_client::{Client, FetchOptions, ResolveOptions, Trust};
use phase_core::store::{FileStore, Store};
use phase_core::trust::{TrustRoot, TrustedTime};
use phase_node::bootstrap::BootstrapPeer;
use phase_node::{NodeConfig, Role};
use phase_provider::{Provider, ProviderConfig};
use phase_report::table::Table;
use phase_units::{Size, parse_size};
use tempfile::TempDir;

/// Fetches one artifact and as much in many, in turn, and prints the ratio of the times.
#[derive(Parser)]
#[command(name = "many-artifacts")]
struct Options {
    /// How often each is fetched.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many small artifacts.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    artifacts: u32,
    /// The size of each. The large one has the size of all together, rounded up to a power of two.
    #[arg(long, default_value = "64KiB", value_parser = parse_size)]
    size: Size,
    /// Where the files and stores are kept: three times the size of all. A tmpfs, or the disk decides.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let run = || tokio::runtime::Runtime::new()?.block_on(run(&Options::parse()));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many-artifacts: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("phase-bench-").tempdir_in(&options.dir)?;
    let small = usize::try_from(options.size.0)?;
    let one = Release::publish(&folder, "one", 1, (small * options.artifacts as usize).next_power_of_two()).await?;
    let many = Release::publish(&folder, "many", options.artifacts as usize, small).await?;
    let mut runs = [Vec::new(), Vec::new()];
    for round in 1..=options.rounds {
        for (release, runs) in [&one, &many].into_iter().zip(&mut runs) {
            let taken = release.fetch(folder.path()).await?;
            eprintln!("round {round}: {:<5} {:.3} s", release.name, taken.seconds);
            runs.push(taken);
        }
    }
    let mut table = Table::of(["median of rounds", "seconds", "least..most", "CPU user+sys"]);
    let seconds = runs.each_ref().map(|runs| median(runs.iter().map(|taken| taken.seconds)));
    for (position, name) in ["one artifact", "many artifacts"].into_iter().enumerate() {
        let runs = &runs[position];
        let (least, most) = range(runs.iter().map(|taken| taken.seconds));
        let (user, system) = (median(runs.iter().map(|t| t.cpu.user)), median(runs.iter().map(|t| t.cpu.system)));
        table.row([
            name.to_owned(),
            format!("{:.3}", seconds[position]),
            format!("{least:.3}..{most:.3}"),
            format!("{user:.2}+{system:.2}"),
        ]);
    }
    println!("\n{table}\nCPU: of both ends together\n\nmany / one: {:.2}", seconds[1] / seconds[0]);
    Ok(())
}

/// A release that is served.
struct Release {
    name: &'static str,
    provider: Provider,
    trust_root: PathBuf,
    /// The length of all artifacts together.
    total: u64,
}

impl Release {
    async fn publish(folder: &TempDir, name: &'static str, count: usize, len: usize) -> Result<Self> {
        let folder = folder.path().join(name);
        fs::create_dir(&folder)?;
        let noise = input::noise(count * len);
        let files: Vec<PathBuf> = (0..count).map(|number| folder.join(number.to_string())).collect();
        for (file, bytes) in files.iter().zip(noise.chunks(len)) {
            fs::write(file, bytes)?;
        }
        let (store, trust_root) = (folder.join("store"), folder.join("root"));
        release::publish(&store, &files, &trust_root)?;
        let node = NodeConfig::in_dht(Role::Server, vec!["/ip4/127.0.0.1/tcp/0".parse()?], Vec::new());
        let provider = Provider::start(ProviderConfig::new(store, node)).await?;
        provider.announced().wait_for(|announced| announced.wanted > 0 && announced.done == announced.wanted).await?;
        Ok(Self { name, provider, trust_root, total: (count * len) as u64 })
    }

    /// Fetches it into an empty store.
    async fn fetch(&self, folder: &Path) -> Result<Taken> {
        let root = TrustRoot::decode_trusted(&fs::read(&self.trust_root)?)?;
        let folder = tempfile::tempdir_in(folder)?;
        let store: Arc<dyn Store> = Arc::new(FileStore::open(folder.path().join("store"))?);
        let address = self.provider.addresses().await.into_iter().next().ok_or("no address is bound")?;
        let first = vec![address.to_string().parse::<BootstrapPeer>()?];
        let client = Client::start(store, NodeConfig::in_dht(Role::Client, Vec::new(), first)).await?;
        let one_answer = ResolveOptions { answers: 1, ..ResolveOptions::default() };
        let resolved = client.resolve(&NAME.parse()?, &Trust { root, time: TrustedTime(NOW) }, one_answer).await?;
        let watch = Stopwatch::start()?;
        let report = client.fetch(&resolved, FetchOptions::default()).finish().await?;
        let taken = watch.stop()?;
        if report.total != self.total {
            return Err(format!("wrong result: {} bytes were fetched of {}", report.total, self.total).into());
        }
        client.stop().await;
        Ok(taken)
    }
}
