//! The figures of a simulated run that promises are about.

use phase_report::swarm::{Outcome, Report, percentile};
use phase_scenario::{Hold, Promise};

/// What did not hold, one sentence each; empty if all did. `outcome` has the runs to compare with.
pub fn judge(hold: &Hold, report: &Report, outcome: &Outcome) -> Vec<String> {
    let unfinished = format!("{} of {} clients finished", report.finished, report.clients);
    let mut broken = if report.is_complete() { Vec::new() } else { vec![unfinished] };
    let of_bound = |time: Option<f64>| time.map(|time| time / report.t_min);
    broken.extend(hold.broken(|promise| match promise {
        Promise::P50 => of_bound(report.p50),
        Promise::P95 => of_bound(percentile(&report.finish_times, report.clients, 0.95)),
        Promise::P99 => of_bound(report.p99),
        Promise::Last => of_bound(report.last),
        Promise::Duplicates => Some(report.duplicates),
        Promise::SeedCopies => Some(report.seed_copies),
        Promise::Versus(variant) => Some(report.last? / outcome.other(variant)?.last?),
        // Promised of containers alone.
        Promise::Throughput | Promise::VersusHttp | Promise::PredictedP50 | Promise::PredictedLast => None,
    }));
    broken
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

    /// What did not hold of a run that is compared with others.
    fn broken(text: &str, report: Report, compared: &[Variant]) -> Vec<String> {
        let run = |variant, report| Run {
            label: "crowd".to_owned(),
            seed: 0,
            variant,
            result: Ok(report),
            wall: Duration::ZERO,
        };
        let others = compared.iter().map(|variant| run(*variant, self::report())).collect();
        let hold: Hold = toml::from_str(text).unwrap();
        Outcome::new(run(Variant::Whole, report), others, |report, outcome| judge(&hold, report, outcome)).broken
    }

    #[test]
    fn each_promise_is_held_against_its_figure() {
        let cases = [
            ("p50", 1.1, 1.09),
            ("p95", 1.3, 1.29),
            ("p99", 1.3, 1.29),
            ("last", 1.5, 1.49),
            ("duplicates", 0.02, 0.0199),
            ("seed_copies", 1.8, 1.79),
        ];
        for (name, kept, missed) in cases {
            assert_eq!(broken(&format!("{name} = {kept}"), report(), &[]), Vec::<String>::new(), "{name}");
            assert_eq!(broken(&format!("{name} = {missed}"), report(), &[]).len(), 1, "{name}");
        }
    }

    #[test]
    fn comparisons_are_with_the_last_of_the_other_run() {
        let late = || Report { last: report().last.map(|last| last * 2.0), ..report() };
        let others = [Variant::Honest, Variant::Undisturbed];
        assert!(broken("versus_honest = 2.0\nversus_undisturbed = 2.0", late(), &others).is_empty());
        assert_eq!(broken("versus_honest = 1.9\nversus_undisturbed = 1.9", late(), &others).len(), 2);
        // Without the other run nothing is known, and what is not known does not hold.
        assert_eq!(broken("versus_honest = 9.0", report(), &[]).len(), 1);
    }

    #[test]
    fn a_client_that_does_not_finish_breaks_every_scenario() {
        let unfinished = || Report { finished: 99, last: None, ..report() };
        assert_eq!(broken("", unfinished(), &[]), ["99 of 100 clients finished"]);
        assert_eq!(broken("last = 9.0", unfinished(), &[]).len(), 2);
    }
}
