//! What a scenario promises, and which of its promises did not hold.

use serde::{Deserialize, Serialize};

use crate::units::{Multiple, Share};
use crate::variant::Variant;

/// What must hold at the end of a run, beside that every client that is to finish has everything. Nothing by default. As JSON
/// it is what the simulator can promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hold {
    p50: Option<Multiple>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95: Option<Multiple>,
    p99: Option<Multiple>,
    last: Option<Multiple>,
    #[serde(skip_serializing)]
    throughput: Option<Share>,
    duplicates: Option<Share>,
    seed_copies: Option<Multiple>,
    versus_honest: Option<Multiple>,
    versus_undisturbed: Option<Multiple>,
    #[serde(skip_serializing)]
    versus_http: Option<Multiple>,
    #[serde(skip_serializing)]
    predicted: Option<Share>,
}

/// A figure that is held against a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// When half of the clients have finished, as a multiple of T_min.
    P50,
    /// When 95 % have.
    P95,
    /// When 99 % have.
    P99,
    /// When all have.
    Last,
    /// What clients received while they downloaded, as a part of what seeds may send.
    Throughput,
    /// What arrived twice, as a part of what was needed.
    Duplicates,
    /// Bytes that seeds sent, as copies of all artifacts.
    SeedCopies,
    /// When the last client has finished, as a multiple of that in another variant.
    Versus(Variant),
    /// How many times as fast as over plain HTTP the last client finishes.
    VersusHttp,
    /// By which part the time of half of the clients differs from what the simulator says.
    PredictedP50,
    /// By which part the time of the last client differs from what the simulator says.
    PredictedLast,
}

impl Promise {
    /// Its key in a scenario file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::P50 => "hold.p50",
            Self::P95 => "hold.p95",
            Self::P99 => "hold.p99",
            Self::Last => "hold.last",
            Self::Throughput => "hold.throughput",
            Self::Duplicates => "hold.duplicates",
            Self::SeedCopies => "hold.seed_copies",
            Self::Versus(Variant::Honest) => "hold.versus_honest",
            Self::Versus(_) => "hold.versus_undisturbed",
            Self::VersusHttp => "hold.versus_http",
            Self::PredictedP50 | Self::PredictedLast => "hold.predicted",
        }
    }

    /// What is measured, and what follows the figure.
    fn words(self) -> (&'static str, String) {
        const OF_BOUND: &str = " x T_min";
        let (name, unit) = match self {
            Self::P50 => ("p50", OF_BOUND),
            Self::P95 => ("p95", OF_BOUND),
            Self::P99 => ("p99", OF_BOUND),
            Self::Last => ("last", OF_BOUND),
            Self::Throughput => ("throughput", " of the sum of rates"),
            Self::Duplicates => ("duplicates", ""),
            Self::SeedCopies => ("seed_copies", ""),
            Self::Versus(variant) => return ("last", format!(" x what it is {variant}")),
            Self::VersusHttp => ("last", " times as fast as over HTTP"),
            Self::PredictedP50 => ("p50", " off what the simulator says"),
            Self::PredictedLast => ("last", " off what the simulator says"),
        };
        (name, unit.to_owned())
    }

    /// Whether the bound is the least rather than the most.
    fn is_least(self) -> bool {
        matches!(self, Self::Throughput | Self::VersusHttp)
    }

    /// A sentence, if a figure is on the wrong side of its bound or is not known.
    fn broken(self, figure: Option<f64>, bound: f64) -> Option<String> {
        let (name, unit) = self.words();
        let at = if self.is_least() { "at least " } else { "" };
        let Some(figure) = figure else { return Some(format!("{name} is not known, promised {at}{bound}{unit}")) };
        if if self.is_least() { figure >= bound } else { figure <= bound } {
            return None;
        }
        // With enough digits to tell the two apart.
        let digits = (2..6).find(|digits| format!("{figure:.digits$}") != format!("{bound:.digits$}")).unwrap_or(9);
        Some(format!("{name} is {figure:.digits$}{unit}, promised {at}{bound}"))
    }
}

impl Hold {
    /// All that is promised, with bounds.
    pub fn promises(&self) -> impl Iterator<Item = (Promise, f64)> {
        let multiple = |bound: Option<Multiple>| bound.map(|bound| bound.0);
        let share = |bound: Option<Share>| bound.map(|bound| bound.0);
        let all = [
            (Promise::P50, multiple(self.p50)),
            (Promise::P95, multiple(self.p95)),
            (Promise::P99, multiple(self.p99)),
            (Promise::Last, multiple(self.last)),
            (Promise::Throughput, share(self.throughput)),
            (Promise::Duplicates, share(self.duplicates)),
            (Promise::SeedCopies, multiple(self.seed_copies)),
            (Promise::Versus(Variant::Honest), multiple(self.versus_honest)),
            (Promise::Versus(Variant::Undisturbed), multiple(self.versus_undisturbed)),
            (Promise::VersusHttp, multiple(self.versus_http)),
            (Promise::PredictedP50, share(self.predicted)),
            (Promise::PredictedLast, share(self.predicted)),
        ];
        all.into_iter().filter_map(|(promise, bound)| Some((promise, bound?)))
    }

    /// What is promised as a time in T_min, with the share of the clients that must have finished by then:
    /// `("p50", 0.5, 1.15)`.
    pub fn deadlines(&self) -> Vec<(&'static str, f64, f64)> {
        let deadline = |(promise, bound)| match promise {
            Promise::P50 => Some(("p50", 0.5, bound)),
            Promise::P95 => Some(("p95", 0.95, bound)),
            Promise::P99 => Some(("p99", 0.99, bound)),
            Promise::Last => Some(("last", 1.0, bound)),
            _ => None,
        };
        self.promises().filter_map(deadline).collect()
    }

    /// What is promised of the last client's time, as a multiple of that in another variant.
    pub fn comparisons(&self) -> Vec<(Variant, f64)> {
        let comparison = |(promise, bound)| match promise {
            Promise::Versus(variant) => Some((variant, bound)),
            _ => None,
        };
        self.promises().filter_map(comparison).collect()
    }

    /// What did not hold, one sentence each; empty if all did. `figure` says what was measured, as far as it is known.
    pub fn broken(&self, figure: impl Fn(Promise) -> Option<f64>) -> Vec<String> {
        self.promises().filter_map(|(promise, bound)| promise.broken(figure(promise), bound)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(text: &str) -> Hold {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_promise_holds_up_to_its_figure() {
        // What is promised, a figure at the bound, and one beyond it.
        let promises = [
            ("p50", 1.1, 1.101),
            ("p95", 1.1, 1.101),
            ("p99", 1.1, 1.101),
            ("last", 1.1, 1.101),
            ("throughput", 0.8, 0.799),
            ("duplicates", 0.02, 0.0201),
            ("seed_copies", 1.8, 1.801),
            ("versus_honest", 2.0, 2.001),
            ("versus_undisturbed", 2.0, 2.001),
            ("versus_http", 4.0, 3.999),
        ];
        for (name, bound, beyond) in promises {
            let hold = hold(&format!("{name} = {bound}"));
            assert_eq!(hold.broken(|_| Some(bound)), Vec::<String>::new(), "{name}");
            let sentences = hold.broken(|_| Some(beyond));
            assert_eq!(sentences.len(), 1, "{name}: {sentences:?}");
            assert!(sentences[0].ends_with(&bound.to_string()), "{sentences:?}");
            assert!(hold.broken(|_| None)[0].contains("is not known"), "what is not known does not hold");
            assert_eq!(hold.promises().next().unwrap().0.key(), format!("hold.{name}"));
        }
        let predicted = hold("predicted = 0.1");
        assert_eq!(predicted.broken(|_| Some(0.1)).len(), 0);
        assert_eq!(predicted.broken(|_| Some(0.2)).len(), 2, "half of the clients, and the last");
        assert!(Hold::default().broken(|_| None).is_empty());
    }

    #[test]
    fn a_figure_shows_why_it_is_beyond_its_bound() {
        let broken = |text, figure| hold(text).broken(|_| figure).remove(0);
        assert_eq!(broken("p99 = 1.35", Some(1.35004)), "p99 is 1.35004 x T_min, promised 1.35");
        assert_eq!(broken("p99 = 1.35", Some(2.0)), "p99 is 2.00 x T_min, promised 1.35");
        assert_eq!(
            broken("versus_honest = 2.0", Some(3.0)),
            "last is 3.00 x what it is without hostile members, promised 2"
        );
        assert_eq!(
            broken("throughput = 0.97", None),
            "throughput is not known, promised at least 0.97 of the sum of rates"
        );
    }

    #[test]
    fn deadlines_and_comparisons_are_told_apart() {
        let hold = hold("p50 = 1.1\np95 = 1.2\np99 = 1.3\nlast = 1.4\nversus_undisturbed = 1.5\nduplicates = 0.1");
        assert_eq!(hold.deadlines(), [("p50", 0.5, 1.1), ("p95", 0.95, 1.2), ("p99", 0.99, 1.3), ("last", 1.0, 1.4)]);
        assert_eq!(hold.comparisons(), [(Variant::Undisturbed, 1.5)]);
    }
}
