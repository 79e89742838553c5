//! `phase-testnet dht`: measures a DHT of real nodes.

use clap::Args;
use phase_soak::dht::{Figures, Measurement, NetworkConfig, measure, resident_bytes};

use super::{BROKEN, Ended, Failure, show, verdict};

const COLUMNS: &str = "\
Columns:
  join      the time until all nodes have joined
  table     the number of peers in a routing table
  messages  the number of messages of a lookup, which ends when the 20 closest nodes have answered; compare it with log2 N
  latency   the time until a lookup found the value
  p95       the 95th percentile of the figure before it
  found     the part of the lookups that found the value
  -20 %     the same right after a fifth of the nodes was killed
  announced again
            the same after all names were announced again
  KiB/node  the memory of a node";

const EXAMPLES: &str = "\
Examples:
  phase-testnet dht --nodes 25,50
  phase-testnet dht --nodes 200 --lookups 1000 --seed 1 --json";

/// Measure lookups in DHTs of many real nodes in this process, before and after a fifth of the nodes is killed.
///
/// Prints one line for each network size.
///
/// A node takes 3 to 7 MiB. On two cores, 200 nodes take less than a minute, 500 nodes four minutes, and 1,000 nodes
/// half an hour.
///
/// Exits with 1 if a network cannot be set up, or if a lookup fails. Only lookups right after nodes were killed may
/// fail.
#[derive(Args)]
#[command(after_long_help = format!("{COLUMNS}\n\n{EXAMPLES}"))]
pub(crate) struct Dht {
    /// Numbers of nodes. The networks run one after another.
    #[arg(long, value_delimiter = ',', default_value = "25,50,100,200,500,1000",
        value_parser = clap::value_parser!(u32).range(2..), allow_negative_numbers = true)]
    nodes: Vec<u32>,
    /// Number of lookups in each of three steps: before nodes are killed, after they are killed, and after all names
    /// were announced again.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    lookups: u32,
    /// Number of names to announce, each by a random node.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    names: u32,
    /// RNG seed, which determines peer ids, bootstrap peers and lookups. Default: random.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Print the figures as JSON, one object on each line.
    #[arg(long)]
    json: bool,
}

impl Dht {
    pub(crate) fn run(&self) -> Ended {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let found = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(self.measure()));
        found.map(verdict).map_err(|text| Failure { code: BROKEN, text })
    }

    /// Prints the figures of each network size. Returns whether all lookups succeeded, except those right after nodes
    /// were killed, which may fail.
    async fn measure(&self) -> Result<bool, String> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("RNG seed {seed}");
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
                true => println!("{}", serde_json::to_string(&figures).expect("figures always have a JSON form")),
                false => println!("{}", table.line(figures.row())),
            }
        }
        Ok(is_found)
    }
}
