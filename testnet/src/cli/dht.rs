//! `phase-testnet dht`: a DHT of real nodes.

use clap::Args;
use phase_soak::dht::{Figures, Measurement, NetworkConfig, measure, resident_bytes};

use super::{BROKEN, Ended, Failure, show, verdict};

/// Start DHTs of many real nodes in this process, look things up in them, take a fifth of each away and look again.
///
/// One line for each size: the time until all have joined; peers in a routing table; messages of a whole lookup, which goes
/// on until the 20 closest nodes have answered, with log2 of the size beside it; the time until the answer; the share of
/// lookups that found what was announced, at first, right after a fifth has gone, and after everything was announced
/// again; memory. A node takes 3 to 7 MiB. On two cores 200 nodes need less than a minute, 500 four, 1,000 half an hour.
///
/// Exits with 1 if a network does not come to be or a lookup fails, at first or at last.
#[derive(Args)]
pub(crate) struct Dht {
    /// Sizes of the networks, which run one after another.
    #[arg(long, value_delimiter = ',', default_value = "25,50,100,200,500,1000", value_parser = clap::value_parser!(u32).range(2..))]
    nodes: Vec<u32>,
    /// Lookups before the loss, after it, and after everything was announced again.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    lookups: u32,
    /// Names that are announced, each by a node chosen at random.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    names: u32,
    /// Determines peer ids, who meets whom first, and who asks for what; default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the figures as JSON, an object on each line.
    #[arg(long)]
    json: bool,
}

impl Dht {
    pub(crate) fn run(&self) -> Ended {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let found = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(self.measure()));
        found.map(verdict).map_err(|text| Failure { code: BROKEN, text })
    }

    /// Prints the figures of each size; returns whether everything was found.
    async fn measure(&self) -> Result<bool, String> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("seed {seed}");
        let table = Figures::table();
        if !self.json {
            println!("{}", table.header());
        }
        let resident_before = resident_bytes();
        let mut is_found = true;
        for nodes in &self.nodes {
            let network = NetworkConfig { seed, ..NetworkConfig::new(*nodes as usize) };
            let (names, lookups) = (self.names as usize, self.lookups as usize);
            let measurement = Measurement { network, names, lookups, resident_before };
            let figures = measure(measurement, &show).await;
            show("");
            let figures = figures.map_err(|error| format!("{nodes} nodes: {error}"))?;
            is_found &= figures.found == 1.0 && figures.found_after_republish == 1.0;
            match self.json {
                true => println!("{}", serde_json::to_string(&figures).expect("figures have a JSON form")),
                false => println!("{}", table.line(figures.row())),
            }
        }
        Ok(is_found)
    }
}
