//! What must hold at the end of a run.

use serde::{Deserialize, Serialize};

use super::units::{Multiple, Share};
use crate::report::{Report, Variant};

/// What must hold at the end of a run, beside that every client has everything. Nothing else, unless told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    p50: Option<Multiple>,
    p99: Option<Multiple>,
    last: Option<Multiple>,
    duplicates: Option<Share>,
    seed_copies: Option<Multiple>,
    versus_honest: Option<Multiple>,
    versus_undisturbed: Option<Multiple>,
}

impl Hold {
    /// What is promised as a time in T_min, with the share of the clients that must have finished by then:
    /// `("p50", 0.5, 1.15)`.
    pub fn deadlines(&self) -> Vec<(&'static str, f64, f64)> {
        let all = [("p50", 0.5, self.p50), ("p99", 0.99, self.p99), ("last", 1.0, self.last)];
        all.into_iter().filter_map(|(name, part, most)| Some((name, part, most?.0))).collect()
    }

    /// What is promised of the last client's time, as a multiple of that in another run.
    pub fn comparisons(&self) -> Vec<(Variant, f64)> {
        let all = [(Variant::Honest, self.versus_honest), (Variant::Undisturbed, self.versus_undisturbed)];
        all.into_iter().filter_map(|(variant, most)| Some((variant, most?.0))).collect()
    }

    /// What did not hold, one sentence each. Empty if all did. `other` gives the runs to compare with.
    pub fn broken<'a>(&self, report: &Report, other: impl Fn(Variant) -> Option<&'a Report>) -> Vec<String> {
        let mut broken = Vec::new();
        if !report.is_complete() {
            broken.push(format!("{} of {} clients finished", report.finished, report.clients));
        }
        let of_bound = |time: Option<f64>| time.map(|time| time / report.t_min);
        for (name, _, most) in self.deadlines() {
            let time = match name {
                "p50" => report.p50,
                "p99" => report.p99,
                _ => report.last,
            };
            broken.extend(exceeds(name, of_bound(time), most, " x T_min"));
        }
        let duplicates = self.duplicates.map(|most| most.0);
        broken.extend(duplicates.and_then(|most| exceeds("duplicates", Some(report.duplicates), most, "")));
        let copies = self.seed_copies.map(|most| most.0);
        broken.extend(copies.and_then(|most| exceeds("seed_copies", Some(report.seed_copies), most, "")));
        for (variant, most) in self.comparisons() {
            let last = other(variant).and_then(|other| other.last);
            let ratio = report.last.zip(last).map(|(last, other)| last / other);
            broken.extend(exceeds("last", ratio, most, &format!(" x what it is {variant}")));
        }
        broken
    }
}

/// A sentence, if a value is above its promise or is not known.
fn exceeds(name: &str, value: Option<f64>, most: f64, unit: &str) -> Option<String> {
    match value {
        Some(value) if value <= most => None,
        // With digits enough to tell the two apart.
        Some(value) => {
            let digits = (2..6).find(|digits| format!("{value:.digits$}") != format!("{most:.digits$}")).unwrap_or(9);
            Some(format!("{name} is {value:.digits$}{unit}, promised {most}"))
        }
        None => Some(format!("{name} is not known, promised {most}{unit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    fn hold(text: &str) -> Hold {
        toml::from_str(text).unwrap()
    }

    fn alone(_: Variant) -> Option<&'static Report> {
        None
    }

    #[test]
    fn each_promise_holds_up_to_its_figure() {
        // p50 1.1, p99 1.3, last 1.5 x T_min, 2 % duplicates, 1.8 seed copies.
        let report = report();
        let cases = [
            ("p50", 1.1, 1.09),
            ("p99", 1.3, 1.29),
            ("last", 1.5, 1.49),
            ("duplicates", 0.02, 0.0199),
            ("seed_copies", 1.8, 1.79),
        ];
        for (name, kept, broken) in cases {
            assert_eq!(hold(&format!("{name} = {kept}")).broken(&report, alone), Vec::<String>::new(), "{name}");
            let sentences = hold(&format!("{name} = {broken}")).broken(&report, alone);
            assert_eq!(sentences.len(), 1, "{name}: {sentences:?}");
        }
    }

    #[test]
    fn comparisons_are_with_the_last_of_the_other_run() {
        let other = report();
        let report = Report { last: Some(other.last.unwrap() * 2.0), ..report() };
        let compared = |_| Some(&other);
        assert!(hold("versus_honest = 2.0\nversus_undisturbed = 2.0").broken(&report, compared).is_empty());
        assert_eq!(hold("versus_honest = 1.9\nversus_undisturbed = 1.9").broken(&report, compared).len(), 2);
        // Without the other run nothing is known, and what is not known does not hold.
        assert_eq!(hold("versus_honest = 9.0").broken(&report, alone).len(), 1);
    }

    #[test]
    fn who_does_not_finish_breaks_every_scenario() {
        let report = Report { finished: 99, last: None, ..report() };
        assert_eq!(Hold::default().broken(&report, alone), ["99 of 100 clients finished"]);
        assert_eq!(hold("last = 9.0").broken(&report, alone).len(), 2);
    }

    #[test]
    fn a_figure_shows_why_it_is_above() {
        assert_eq!(exceeds("p99", Some(1.35004), 1.35, ""), Some("p99 is 1.35004, promised 1.35".to_owned()));
        assert_eq!(exceeds("p99", Some(2.0), 1.35, ""), Some("p99 is 2.00, promised 1.35".to_owned()));
    }
}
