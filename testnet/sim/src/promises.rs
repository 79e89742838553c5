//! The figures of a simulated run that promises are about.

use phase_report::swarm::{Outcome, Report, percentile};
use phase_scenario::{Hold, Promise};

/// What did not hold, one sentence each; empty if all did. `outcome` has the runs to compare with.
pub fn judge(hold: &Hold, report: &Report, outcome: &Outcome) -> Vec<String> {
    let unfinished = format!("{} of {} clients finished", report.finished, report.clients);
    let mut broken = if report.is_complete() { Vec::new() } else { vec![unfinished] };
    broken.extend(hold.broken(|promise| figure(promise, report, outcome)));
    broken
}

/// What a run showed of what a promise is about. `None`: that is not known.
fn figure(promise: Promise, report: &Report, outcome: &Outcome) -> Option<f64> {
    let of_bound = |time: Option<f64>| time.map(|time| time / report.t_min);
    match promise {
        Promise::P50 => of_bound(report.p50),
        Promise::P95 => of_bound(percentile(&report.finish_times, report.clients, 0.95)),
        Promise::P99 => of_bound(report.p99),
        Promise::Last => of_bound(report.last),
        Promise::Duplicates => Some(report.duplicates),
        Promise::SeedCopies => Some(report.seed_copies),
        Promise::Versus(variant) => Some(report.last? / outcome.other(variant)?.last?),
        // Promised of containers alone.
        Promise::Throughput | Promise::VersusHttp | Promise::PredictedP50 | Promise::PredictedLast => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phase_report::swarm::Run;
    use phase_scenario::Variant;

    use super::*;

    /// 100 clients, T_min 10 s: p50 1.1, p95 and p99 1.3, last 1.5 x T_min, 2 % duplicates, 1.8 seed copies.
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

    /// A run, compared with two of which the last client finished in half of the time and in a third of it.
    fn outcome(report: &Report) -> Outcome {
        let run = |variant, times: f64| {
            let report = Report { last: report.last.map(|last| last / times), ..report.clone() };
            Run { label: "crowd".to_owned(), seed: 0, variant, result: Ok(report), wall: Duration::ZERO }
        };
        let compared = vec![run(Variant::Honest, 2.0), run(Variant::Undisturbed, 3.0)];
        Outcome { run: run(Variant::Whole, 1.0), compared, broken: Vec::new() }
    }

    #[test]
    fn each_promise_is_about_its_figure() {
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
    fn a_client_that_does_not_finish_breaks_every_scenario() {
        let unfinished = Report { finished: 99, last: None, ..report() };
        let broken = |text, report: &Report| judge(&toml::from_str(text).unwrap(), report, &outcome(report));
        assert_eq!(broken("last = 1.51", &report()), Vec::<String>::new());
        assert_eq!(broken("", &unfinished), ["99 of 100 clients finished"]);
        assert_eq!(broken("last = 9.0", &unfinished).len(), 2);
    }
}
