//! Under load, cancels, stalls, cuts and restarts nothing is lost, hangs or is left over.

use std::time::Duration;

use phase_soak::soak::{Config, News, QuietPoint, run};

/// Too short for memory to be judged.
#[test]
fn half_a_minute_of_load_and_trouble_leaves_no_task_and_no_descriptor_behind() {
    let seed = std::env::var("PHASE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("replay with PHASE_SEED={seed}\n{}", QuietPoint::HEADER);
    let config = Config {
        seed,
        duration: Duration::from_secs(24),
        warm_up: Duration::from_secs(5),
        load: Duration::from_secs(6),
        residents: 2,
        newcomers: 1,
        strangers: 2,
        ..Config::default()
    };
    let tell = &mut |news: News<'_>| {
        if let News::Quiet(point) = news {
            println!("{point}");
        }
    };
    let report = run(&config, tell).unwrap();
    assert!(report.is_good(), "{report:#?}");
    assert!(report.points.len() >= 2 && report.counts.fetches > 0, "{report:#?}");
    assert_eq!(report.memory, None);
}
