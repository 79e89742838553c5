//! Made-up runs for tests.

use std::time::Duration;

use phase_scenario::Variant;

use super::outcome::Run;
use super::report::{Report, Sample};

/// Returns the report of 100 clients with T_min 10 s: p50 is 1.1 T_min, p99 is 1.3 T_min, last is 1.5 T_min. Duplicates
/// are 2 %, and seeds sent 1.8 copies.
pub(super) fn report() -> Report {
    let finish_times: Vec<f64> = (0..100u32)
        .map(|client| match client {
            0..50 => 11.0,
            50..99 => 13.0,
            _ => 15.0,
        })
        .collect();
    let sample = |at: f64| Sample { at, least: at / 20.0, mean: at / 15.0, most: (at / 11.0).min(1.0) };
    Report {
        seed: 7,
        clients: 100,
        finished: 100,
        size: 64 << 20,
        chunks: 512,
        t_min: 10.0,
        p50: Some(11.0),
        p99: Some(13.0),
        last: Some(15.0),
        seed_copies: 1.8,
        duplicates: 0.02,
        reassigned: 3,
        stolen: 1,
        stalls: 2,
        bans: 0,
        events: 51_234,
        finish_times,
        samples: (0..=15).map(|at| sample(f64::from(at))).collect(),
    }
}

pub(super) fn run(variant: Variant, result: Result<Report, String>) -> Run {
    Run { label: "crowd-100".to_owned(), seed: 7, variant, result, wall: Duration::from_millis(1234) }
}
