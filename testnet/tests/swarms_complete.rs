//! Every client ends up with everything, whatever goes wrong, as long as somebody honest has it. A failure prints its
//! seed; `PHASE_SIM_SEED=<seed>` runs that seed alone.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use phase_testnet::{Change, Checks, Churn, Field, Hostile, NodeEvent, NodeRef, Report, Scenario, When, run};

/// Seeds that are tried for each scenario.
const SEEDS: std::ops::Range<u64> = 0..6;

fn small() -> Scenario {
    Scenario { nodes: 8, size: 8 << 20, ..Scenario::default() }
}

fn lost(client: u32, after_ms: u64) -> NodeEvent {
    let at = When::At(Duration::from_millis(after_ms));
    NodeEvent { node: NodeRef::Client(client), at, change: Change::Lost }
}

/// Runs a scenario with several seeds, checks invariants after every event, and hands every report to `check`.
fn try_seeds(scenario: &Scenario, check: impl Fn(&Report)) {
    let replayed = std::env::var("PHASE_SIM_SEED").ok().map(|seed| seed.parse().expect("PHASE_SIM_SEED is a number"));
    let seeds = replayed.map_or(SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let named = NameOnPanic(seed);
        let report = run(&Scenario { seed, ..scenario.clone() }, Checks::Every).unwrap();
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
    try_seeds(&Scenario { nodes: 1, ..small() }, |report| {
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
    try_seeds(&Scenario { nodes: 1, seed_up: vec![12.5e6; 4], ..small() }, |report| {
        assert!(report.ratio().unwrap() < 1.6, "{report}")
    });
}

#[test]
fn clients_that_go_away_hold_up_nobody() {
    let events = vec![lost(0, 200), lost(1, 500), lost(2, 800)];
    try_seeds(&Scenario { size: 32 << 20, events, ..small() }, |report| {
        assert_eq!(report.clients, 5, "{report}");
        // They are noticed to be gone before any timeout.
        assert_eq!(report.stalls, 0, "{report}");
    });
}

#[test]
fn who_sends_garbage_is_banned_and_does_no_harm() {
    // The simulator itself asserts that nobody else is banned.
    try_seeds(&Scenario { hostile: Hostile { corrupt: 2, ..Hostile::default() }, ..small() }, |report| {
        assert!(report.reassigned > 0 && (1..=16).contains(&report.bans), "{report}");
    });
}

#[test]
fn who_sends_nothing_is_given_up() {
    try_seeds(&Scenario { hostile: Hostile { stalled: 2, ..Hostile::default() }, ..small() }, |report| {
        // The endgame may get there before the timeout does, so nothing needs to be reassigned.
        assert!(report.last.unwrap() < report.t_min + 30.0, "{report}");
    });
}

#[test]
fn everything_at_once_completes() {
    let hostile = Hostile { corrupt: 1, stalled: 1, liars: 1 };
    try_seeds(&Scenario { hostile, events: vec![lost(3, 300)], ..small() }, |_| {});
}

#[test]
fn a_seed_much_slower_than_its_clients_are_many_serves_them_all() {
    // A first window of each takes the seed longer than any timeout.
    try_seeds(&Scenario { nodes: 32, seed_up: vec![2e5], up: 2e5, size: 2 << 20, ..small() }, |_| {});
}

#[test]
fn long_ways_complete() {
    try_seeds(&Scenario { latency: Duration::from_millis(600), ..small() }, |_| {});
}

#[test]
fn a_seed_replays_to_the_same_report() {
    let scenario = Scenario { hostile: Hostile { corrupt: 1, stalled: 1, liars: 1 }, ..small() };
    assert_eq!(run(&scenario, Checks::Off), run(&scenario, Checks::Off));
    let other = Scenario { seed: 1, ..scenario.clone() };
    assert_ne!(run(&scenario, Checks::Off), run(&other, Checks::Off));
}

#[test]
fn scenarios_that_make_no_sense_are_refused() {
    let slow = |part| NodeEvent { change: Change::Slow(part), ..lost(0, 1) };
    let churn = |every, share| Some(Churn { every, share });
    let refused = [
        (Field::Nodes, Scenario { nodes: 0, ..small() }),
        (Field::Nodes, Scenario { nodes: 20_001, ..small() }),
        (Field::AllNodes, Scenario { hostile: Hostile { liars: u32::MAX, ..Hostile::default() }, ..small() }),
        (Field::SeedUp, Scenario { seed_up: Vec::new(), ..small() }),
        (Field::SeedUp, Scenario { seed_up: vec![1e6, 0.0], ..small() }),
        (Field::Size, Scenario { size: 0, ..small() }),
        (Field::Size, Scenario { size: u64::MAX, ..small() }),
        (Field::Up, Scenario { up: 0.0, ..small() }),
        (Field::Up, Scenario { up: f64::NAN, ..small() }),
        (Field::Down, Scenario { down: f64::INFINITY, ..small() }),
        (Field::Spread, Scenario { spread: 1.0, ..small() }),
        (Field::Latency, Scenario { latency: Duration::MAX, ..small() }),
        (Field::Neighbours, Scenario { neighbours: 0, ..small() }),
        (Field::Nat, Scenario { nat: 1.1, ..small() }),
        (Field::ChurnEvery, Scenario { churn: churn(0.0, 0.1), ..small() }),
        (Field::ChurnShare, Scenario { churn: churn(0.1, 0.0), ..small() }),
        (Field::Events, Scenario { events: vec![lost(0, 1); 10_001], ..small() }),
        (Field::Event(0), Scenario { events: vec![lost(8, 1)], ..small() }),
        (Field::Event(1), Scenario { events: vec![lost(7, 1), slow(0.0)], ..small() }),
        (Field::Event(0), Scenario { events: vec![NodeEvent { node: NodeRef::Seed(1), ..lost(0, 1) }], ..small() }),
        (Field::Event(0), Scenario { events: vec![NodeEvent { at: When::Progress(1.5), ..lost(0, 1) }], ..small() }),
    ];
    for (field, scenario) in refused {
        let error = run(&scenario, Checks::Off).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
}
