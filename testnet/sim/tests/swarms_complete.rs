//! Every client gets all chunks in spite of faults, as long as one honest node has all chunks. A failed test prints its
//! RNG seed. With `PHASE_SIM_SEED=<RNG seed>`, the tests run only this RNG seed.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use phase_report::swarm::Report;
use phase_scenario::{
    Artifact, Change, Churn, Clients, Event, Hostile, HostileKind, Kind, Multiple, Network, NodeName, Problem, Rate,
    Scenario, Share, Size, When,
};

/// The RNG seeds that are tried for each scenario.
const RNG_SEEDS: std::ops::Range<u64> = 0..6;

fn small() -> Scenario {
    let (up, down) = (Some(Rate(12.5e6)), Some(Rate(125e6)));
    Scenario {
        artifacts: vec![artifact(8 << 20)],
        seeds: vec![up],
        clients: Clients { count: 8, up, down, spread: Share(0.2), ..Clients::default() },
        network: Network { latency: Duration::from_millis(10), neighbours: None },
        ..Scenario::default()
    }
}

fn artifact(size: u64) -> Artifact {
    Artifact { size: Size(size), kind: Kind::Noise }
}

fn clients(count: u32) -> Clients {
    Clients { count, ..small().clients }
}

fn hostile<const N: usize>(kinds: [(HostileKind, u32); N]) -> Hostile {
    Hostile(kinds.into())
}

fn killed(client: u32, after_ms: u64) -> Event {
    let when = When::At(Duration::from_millis(after_ms));
    Event { nodes: vec![NodeName::Client(client)], when, change: Change::Kill }
}

fn run(scenario: &Scenario, check: bool) -> Result<Report, Problem> {
    phase_sim::run(scenario, check, &mut |_| {})
}

/// Runs a scenario with several RNG seeds, checks the schedulers' invariants during each run, and passes each report to
/// `check`.
fn try_rng_seeds(scenario: &Scenario, check: impl Fn(&Report)) {
    let replayed = std::env::var("PHASE_SIM_SEED").ok().map(|seed| seed.parse().expect("PHASE_SIM_SEED is a number"));
    let rng_seeds = replayed.map_or(RNG_SEEDS, |seed: u64| seed..seed + 1);
    for rng_seed in rng_seeds {
        let printed = PrintedOnPanic(rng_seed);
        let report = run(&Scenario { rng_seed, ..scenario.clone() }, true).unwrap();
        assert!(report.is_complete(), "{report}");
        check(&report);
        drop(printed);
    }
}

/// Prints how to replay a run if the test panics. Contains the RNG seed of the run.
struct PrintedOnPanic(u64);

impl Drop for PrintedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with PHASE_SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn a_single_client_is_as_fast_as_its_seed() {
    try_rng_seeds(&Scenario { clients: clients(1), ..small() }, |report| {
        assert!(report.ratio().unwrap() < 1.1, "{report}");
        assert_eq!((report.duplicates, report.reassigned), (0.0, 0), "{report}");
    });
}

#[test]
fn clients_fetch_most_chunks_from_each_other() {
    try_rng_seeds(&small(), |report| {
        assert!(report.seed_copies < 4.0, "8 clients fetched from the seed only: {report}")
    });
}

#[test]
fn a_client_fetches_from_several_seeds_at_once() {
    try_rng_seeds(&Scenario { clients: clients(1), seeds: vec![Some(Rate(12.5e6)); 4], ..small() }, |report| {
        assert!(report.ratio().unwrap() < 1.6, "{report}")
    });
}

#[test]
fn killed_clients_cause_no_stalls() {
    let events = vec![killed(0, 200), killed(1, 500), killed(2, 800)];
    try_rng_seeds(&Scenario { artifacts: vec![artifact(32 << 20)], events, ..small() }, |report| {
        assert_eq!(report.clients, 5, "{report}");
        // The peers of a killed client notice the lost connection before their requests to this client stall.
        assert_eq!(report.stalls, 0, "{report}");
    });
}

#[test]
fn nodes_that_send_corrupt_chunks_are_banned() {
    // The simulator panics if a node that sends no corrupt chunks is banned, so the test need not check this.
    try_rng_seeds(&Scenario { hostile: hostile([(HostileKind::Corrupt, 2)]), ..small() }, |report| {
        assert!(report.reassigned > 0 && (1..=16).contains(&report.bans), "{report}");
    });
}

#[test]
fn nodes_that_send_nothing_delay_a_fetch_by_less_than_30_s() {
    try_rng_seeds(&Scenario { hostile: hostile([(HostileKind::Stall, 2)]), ..small() }, |report| {
        // The test does not require reassigned chunks, because the endgame may request the chunks from other peers
        // before the requests to the hostile nodes stall.
        assert!(report.last.unwrap() < report.t_min + 30.0, "{report}");
    });
}

#[test]
fn all_faults_together_do_not_prevent_completion() {
    let hostile = hostile([(HostileKind::Corrupt, 1), (HostileKind::Stall, 1), (HostileKind::Lie, 1)]);
    try_rng_seeds(&Scenario { hostile, events: vec![killed(3, 300)], ..small() }, |_| {});
}

#[test]
fn a_slow_seed_with_many_clients_serves_all_of_them() {
    // The seed is so slow that it needs longer than any timeout to send a first window to every client.
    let slow = Some(Rate(2e5));
    let clients = Clients { up: slow, ..clients(32) };
    try_rng_seeds(&Scenario { clients, seeds: vec![slow], artifacts: vec![artifact(2 << 20)], ..small() }, |_| {});
}

#[test]
fn a_swarm_with_a_long_latency_completes() {
    try_rng_seeds(
        &Scenario { network: Network { latency: Duration::from_millis(600), neighbours: None }, ..small() },
        |_| {},
    );
}

#[test]
fn the_same_rng_seed_gives_the_same_report() {
    let scenario = Scenario {
        hostile: hostile([(HostileKind::Corrupt, 1), (HostileKind::Stall, 1), (HostileKind::Lie, 1)]),
        ..small()
    };
    assert_eq!(run(&scenario, false), run(&scenario, false));
    let other = Scenario { rng_seed: 1, ..scenario.clone() };
    assert_ne!(run(&scenario, false), run(&other, false));
}

#[test]
fn a_swarm_with_churn_completes() {
    let churn = Some(Churn { every: Multiple(0.2), share: Share(0.25) });
    try_rng_seeds(&Scenario { churn, ..small() }, |report| assert!(report.clients > 0, "{report}"));
}

#[test]
fn a_scenario_that_needs_containers_is_refused() {
    let hostile = hostile([(HostileKind::Drip, 1)]);
    let problem = run(&Scenario { hostile, ..small() }, false).unwrap_err();
    assert_eq!(problem.key, "hostile.drip", "{problem}");
}
