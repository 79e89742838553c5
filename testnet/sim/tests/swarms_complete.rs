//! Every client ends up with everything, whatever goes wrong, as long as somebody honest has it. A failure prints its
//! seed; `PHASE_SIM_SEED=<seed>` runs that seed alone.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use phase_report::swarm::Report;
use phase_scenario::{
    Artifact, Change, Churn, Clients, Event, Harm, Hostile, Kind, Multiple, Network, NodeName, Problem, Rate, Scenario,
    Share, Size, When,
};

/// Seeds that are tried for each scenario.
const SEEDS: std::ops::Range<u64> = 0..6;

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

fn hostile<const N: usize>(harms: [(Harm, u32); N]) -> Hostile {
    Hostile(harms.into())
}

fn lost(client: u32, after_ms: u64) -> Event {
    let when = When::At(Duration::from_millis(after_ms));
    Event { nodes: vec![NodeName::Client(client)], when, change: Change::Kill }
}

fn run(scenario: &Scenario, check: bool) -> Result<Report, Problem> {
    phase_sim::run(scenario, check, &mut |_| {})
}

/// Runs a scenario with several seeds, checks invariants after every event, and hands every report to `check`.
fn try_seeds(scenario: &Scenario, check: impl Fn(&Report)) {
    let replayed = std::env::var("PHASE_SIM_SEED").ok().map(|seed| seed.parse().expect("PHASE_SIM_SEED is a number"));
    let seeds = replayed.map_or(SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let named = NameOnPanic(seed);
        let report = run(&Scenario { rng_seed: seed, ..scenario.clone() }, true).unwrap();
        assert!(report.is_complete(), "{report}");
        check(&report);
        drop(named);
    }
}

/// Tells how to replay the seed if it is dropped by a panic.
struct NameOnPanic(u64);

impl Drop for NameOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with PHASE_SIM_SEED={}", self.0);
        }
    }
}

#[test]
fn a_single_client_is_as_fast_as_its_seed() {
    try_seeds(&Scenario { clients: clients(1), ..small() }, |report| {
        assert!(report.ratio().unwrap() < 1.1, "{report}");
        assert_eq!((report.duplicates, report.reassigned), (0.0, 0), "{report}");
    });
}

#[test]
fn clients_share_what_they_fetch() {
    try_seeds(&small(), |report| assert!(report.seed_copies < 4.0, "8 clients took from the seed alone: {report}"));
}

#[test]
fn several_seeds_are_used_at_once() {
    try_seeds(&Scenario { clients: clients(1), seeds: vec![Some(Rate(12.5e6)); 4], ..small() }, |report| {
        assert!(report.ratio().unwrap() < 1.6, "{report}")
    });
}

#[test]
fn clients_that_go_away_hold_up_nobody() {
    let events = vec![lost(0, 200), lost(1, 500), lost(2, 800)];
    try_seeds(&Scenario { artifacts: vec![artifact(32 << 20)], events, ..small() }, |report| {
        assert_eq!(report.clients, 5, "{report}");
        // They are noticed to be gone before any timeout.
        assert_eq!(report.stalls, 0, "{report}");
    });
}

#[test]
fn who_sends_garbage_is_banned_and_does_no_harm() {
    // The simulator itself asserts that nobody else is banned.
    try_seeds(&Scenario { hostile: hostile([(Harm::Corrupt, 2)]), ..small() }, |report| {
        assert!(report.reassigned > 0 && (1..=16).contains(&report.bans), "{report}");
    });
}

#[test]
fn who_sends_nothing_is_given_up() {
    try_seeds(&Scenario { hostile: hostile([(Harm::Stall, 2)]), ..small() }, |report| {
        // The endgame may get there before the timeout does, so nothing needs to be reassigned.
        assert!(report.last.unwrap() < report.t_min + 30.0, "{report}");
    });
}

#[test]
fn everything_at_once_completes() {
    let hostile = hostile([(Harm::Corrupt, 1), (Harm::Stall, 1), (Harm::Lie, 1)]);
    try_seeds(&Scenario { hostile, events: vec![lost(3, 300)], ..small() }, |_| {});
}

#[test]
fn a_seed_much_slower_than_its_clients_are_many_serves_them_all() {
    // A first window of each takes the seed longer than any timeout.
    let slow = Some(Rate(2e5));
    let clients = Clients { up: slow, ..clients(32) };
    try_seeds(&Scenario { clients, seeds: vec![slow], artifacts: vec![artifact(2 << 20)], ..small() }, |_| {});
}

#[test]
fn long_ways_complete() {
    try_seeds(
        &Scenario { network: Network { latency: Duration::from_millis(600), neighbours: None }, ..small() },
        |_| {},
    );
}

#[test]
fn a_seed_replays_to_the_same_report() {
    let scenario = Scenario { hostile: hostile([(Harm::Corrupt, 1), (Harm::Stall, 1), (Harm::Lie, 1)]), ..small() };
    assert_eq!(run(&scenario, false), run(&scenario, false));
    let other = Scenario { rng_seed: 1, ..scenario.clone() };
    assert_ne!(run(&scenario, false), run(&other, false));
}

#[test]
fn clients_are_replaced_until_the_others_have_finished() {
    let churn = Some(Churn { every: Multiple(0.2), share: Share(0.25) });
    try_seeds(&Scenario { churn, ..small() }, |report| assert!(report.clients > 0, "{report}"));
}

#[test]
fn a_scenario_of_containers_is_refused() {
    let hostile = hostile([(Harm::Drip, 1)]);
    let problem = run(&Scenario { hostile, ..small() }, false).unwrap_err();
    assert_eq!(problem.key, "hostile.drip", "{problem}");
}
