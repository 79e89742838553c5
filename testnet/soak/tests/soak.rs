//! A short soak: under load, cancellations, stalls, cuts and restarts no bytes are lost, and no task hangs or leaks.

use std::time::Duration;

use phase_soak::soak::{Config, QuietPoint, SoakEvent, run};

/// A soak of half a minute has too few quiet points to judge the growth of memory, so `report.memory` is `None`.
#[test]
fn half_a_minute_of_load_and_faults_leaks_no_task_and_no_descriptor() {
    let seed = std::env::var("PHASE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("replay with PHASE_SEED={seed}\n{}", QuietPoint::HEADER);
    let config = Config {
        seed,
        duration: Duration::from_secs(24),
        warm_up: Duration::from_secs(5),
        load: Duration::from_secs(6),
        long_lived_clients: 2,
        short_lived_clients: 1,
        raw_peers: 2,
        ..Config::default()
    };
    let print = &mut |event: SoakEvent<'_>| {
        if let SoakEvent::Quiet(point) = event {
            println!("{point}");
        }
    };
    let report = run(&config, print).unwrap();
    assert!(report.is_good(), "{report:#?}");
    assert!(report.points.len() >= 2 && report.counts.fetches > 0, "{report:#?}");
    assert_eq!(report.memory, None);
}
