//! Derives the artifact and the rates of all nodes from a scenario.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkerParams, Digest, HashAlgorithm};
use phase_scenario::{Rate, Scenario, t_min};

/// The simulated rate of an uplink or downlink for which the scenario has no limit, in bytes per second.
const UNLIMITED: f64 = 1e9;
/// The default for the number of neighbours of each client, not counting seeds.
pub(crate) const NEIGHBOURS: u32 = 24;

/// The upload rate and the download rate of a node, in bytes per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) up: f64,
    pub(crate) down: f64,
}

/// Makes the index of the simulated artifact, with random chunk lengths around the chunker's average. All digests are
/// zero, because the simulator has no content to verify.
pub(crate) fn index(scenario: &Scenario, rng: &mut Rng) -> Arc<ArtifactIndex> {
    let params = ChunkerParams::default();
    let mut left = scenario.size();
    let mut chunks = Vec::new();
    while left > 0 {
        let len = rng.u32(params.avg() / 2..=params.avg() / 2 * 3);
        let len = u32::try_from(left).map_or(len, |left| len.min(left));
        chunks.push(ChunkEntry { digest: Digest::new([0; 32]), len });
        left -= u64::from(len);
    }
    let digest = Digest::new([0; 32]);
    let index = ArtifactIndex::new(params, HashAlgorithm::Blake3, digest, chunks);
    Arc::new(index.expect("the lengths are within the chunker's bounds"))
}

/// Returns the rates of all nodes in this order: seeds, clients, hostile nodes. The rates of hostile nodes are drawn
/// like the rates of clients.
pub(crate) fn all_rates(scenario: &Scenario, rng: &mut Rng) -> Vec<Rates> {
    let down = limit(scenario.clients.down);
    let seeds = scenario.seeds.iter().map(|up| Rates { up: limit(*up), down });
    let others = u64::from(scenario.clients.count) + scenario.hostile.count();
    seeds.chain((0..others).map(|_| client_rates(scenario, rng))).collect()
}

/// Draws the rates of one client at random. Their relative difference from the scenario's rates is at most `spread`.
pub(crate) fn client_rates(scenario: &Scenario, rng: &mut Rng) -> Rates {
    let mut vary = |rate: Option<Rate>| limit(rate) * (1.0 + scenario.clients.spread.0 * (2.0 * rng.f64() - 1.0));
    Rates { up: vary(scenario.clients.up), down: vary(scenario.clients.down) }
}

fn limit(rate: Option<Rate>) -> f64 {
    rate.map_or(UNLIMITED, |rate| rate.0)
}

/// Returns T_min for nodes with these rates. Events and hostile nodes are ignored.
pub(crate) fn bound(scenario: &Scenario, rates: &[Rates]) -> Duration {
    let (seeds, others) = rates.split_at(scenario.seeds.len());
    let clients = others[..scenario.clients.count as usize].iter().map(|rates| (rates.up, rates.down));
    Duration::from_secs_f64(t_min(scenario.size(), seeds.iter().map(|rates| rates.up), clients))
}

#[cfg(test)]
mod tests {
    use phase_scenario::{Artifact, Clients, Hostile, HostileKind, Kind, Share, Size};

    use super::*;

    #[test]
    fn rates_are_listed_for_seeds_then_clients_then_hostile_nodes() {
        let hostile = Hostile([(HostileKind::Corrupt, 1), (HostileKind::Stall, 1), (HostileKind::Lie, 1)].into());
        let (up, down) = (Some(Rate(4e6)), Some(Rate(8e6)));
        let clients = Clients { count: 2, up, down, spread: Share(0.2), ..Clients::default() };
        let seeds = vec![Some(Rate(1e6)), None];
        let scenario = Scenario { seeds, clients, hostile, ..Scenario::default() };
        let rates = all_rates(&scenario, &mut Rng::with_seed(0));
        assert_eq!(rates.len(), 7);
        assert_eq!([rates[0].up, rates[1].up], [1e6, UNLIMITED], "seeds have exactly the listed rates");
        for Rates { up, down } in &rates[2..] {
            assert!((0.8..=1.2).contains(&(up / 4e6)) && (0.8..=1.2).contains(&(down / 8e6)));
        }
        assert!(rates[2].up != rates[3].up, "the rates of clients must differ");
    }

    #[test]
    fn the_chunk_lengths_add_up_to_the_artifact_size() {
        for size in [1, 100_000, 64 << 20] {
            let artifacts = vec![Artifact { size: Size(size), kind: Kind::Noise }];
            let index = index(&Scenario { artifacts, ..Scenario::default() }, &mut Rng::with_seed(3));
            assert_eq!(index.size(), size);
        }
    }
}
