//! Compares the figures of a simulated run with the promises of its scenario.

use phase_report::swarm::{Outcome, Report, percentile};
use phase_scenario::{Hold, Promise};

/// Returns one message for each broken promise, and a message if a client did not finish. The list is empty if every
/// client finished and all promises held. `outcome` contains the runs of other variants, for comparison.
pub fn judge(hold: &Hold, report: &Report, outcome: &Outcome) -> Vec<String> {
    let unfinished = format!("{} of {} clients finished", report.finished, report.clients);
    let mut broken = if report.is_complete() { Vec::new() } else { vec![unfinished] };
    broken.extend(hold.broken(|promise| figure(promise, report, outcome)));
    broken
}

/// Returns the measured figure that a promise limits, or `None` if the figure is unknown.
fn figure(promise: Promise, report: &Report, outcome: &Outcome) -> Option<f64> {
    let in_t_min = |time: Option<f64>| time.map(|time| time / report.t_min);
    match promise {
        Promise::P50 => in_t_min(report.p50),
        Promise::P95 => in_t_min(percentile(&report.finish_times, report.clients, 0.95)),
        Promise::P99 => in_t_min(report.p99),
        Promise::Last => in_t_min(report.last),
        Promise::Duplicates => Some(report.duplicates),
        Promise::SeedCopies => Some(report.seed_copies),
        Promise::Versus(variant) => Some(report.last? / outcome.other(variant)?.last?),
        // Only the lab measures these figures.
        Promise::Throughput | Promise::VersusHttp | Promise::PredictedP50 | Promise::PredictedLast => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phase_report::swarm::Run;
    use phase_scenario::Variant;

    use super::*;

    /// Returns the report of 100 clients with T_min 10 s: p50 is 1.1 T_min, p95 and p99 are 1.3 T_min, last is 1.5
    /// T_min. Duplicates are 2 %, and seeds sent 1.8 copies.
    fn report() -> Report {
        let finish_times: Vec<_> = [(50, 11.0), (49, 13.0), (1, 15.0)].map(|(count, at)| vec![at; count]).concat();
        let time = |part| percentile(&finish_times, 100, part);
        Report {
            clients: 100,
            finished: 100,
            t_min: 10.0,
            p50: time(0.5),
            p99: time(0.99),
            last: time(1.0),
            seed_copies: 1.8,
            duplicates: 0.02,
            finish_times,
            ..Report::default()
        }
    }

    /// Returns the outcome of a run with `report`, and with two runs for comparison. In the first of these two runs,
    /// the last client needs half of the time. In the second, it needs a third.
    fn outcome(report: &Report) -> Outcome {
        let run = |variant, times: f64| {
            let report = Report { last: report.last.map(|last| last / times), ..report.clone() };
            Run { label: "crowd".to_owned(), seed: 0, variant, result: Ok(report), wall: Duration::ZERO }
        };
        let compared = vec![run(Variant::Honest, 2.0), run(Variant::Undisturbed, 3.0)];
        Outcome { run: run(Variant::Whole, 1.0), compared, broken: Vec::new() }
    }

    #[test]
    fn each_promise_is_compared_with_its_figure() {
        let (report, versus) = (report(), [Variant::Honest, Variant::Undisturbed].map(Promise::Versus));
        let figures = [
            (Promise::P50, 1.1),
            (Promise::P95, 1.3),
            (Promise::P99, 1.3),
            (Promise::Last, 1.5),
            (Promise::Duplicates, 0.02),
            (Promise::SeedCopies, 1.8),
            (versus[0], 2.0),
            (versus[1], 3.0),
        ];
        let outcome = outcome(&report);
        for (promise, expected) in figures {
            let measured = figure(promise, &report, &outcome).unwrap();
            assert!((measured - expected).abs() < 1e-9, "{promise:?}: {measured}");
        }
        let alone = Outcome { compared: Vec::new(), ..outcome };
        assert_eq!(versus.map(|promise| figure(promise, &report, &alone)), [None; 2]);
    }

    #[test]
    fn an_unfinished_client_is_reported_even_without_promises() {
        let unfinished = Report { finished: 99, last: None, ..report() };
        let broken = |text, report: &Report| judge(&toml::from_str(text).unwrap(), report, &outcome(report));
        assert_eq!(broken("last = 1.51", &report()), Vec::<String>::new());
        assert_eq!(broken("", &unfinished), ["99 of 100 clients finished"]);
        assert_eq!(broken("last = 9.0", &unfinished).len(), 2);
    }
}
