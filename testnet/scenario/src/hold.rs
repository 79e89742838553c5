//! The promises of a scenario, and their comparison with measured figures.

use serde::{Deserialize, Serialize};

use crate::units::{Multiple, Share};
use crate::variant::Variant;

/// The promises of a scenario, which must hold at the end of a run. Default: no promises. It is always required that
/// every client that must finish fetches all artifacts, so that there is no promise for this.
///
/// The JSON form is for reports of the simulator, so it omits the promises that only the lab supports.
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

/// A kind of promise. Each variant has the name of the figure that is compared with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The time until half of the clients have finished, as a multiple of T_min.
    P50,
    /// The time until 95 % of the clients have finished, as a multiple of T_min.
    P95,
    /// The time until 99 % of the clients have finished, as a multiple of T_min.
    P99,
    /// The time until all clients have finished, as a multiple of T_min.
    Last,
    /// The total download rate of all clients, divided by the total upload rate of the seeds.
    Throughput,
    /// The data that clients received twice, divided by the data that they verified.
    Duplicates,
    /// The number of bytes that seeds sent, divided by the size of all artifacts.
    SeedCopies,
    /// The finish time of the last client, divided by the finish time of the last client in this variant of the
    /// scenario.
    Versus(Variant),
    /// The finish time of the last client over plain HTTP, divided by the finish time of the last client over Phase.
    VersusHttp,
    /// The relative difference between the measured p50 and the p50 that the simulator predicts.
    PredictedP50,
    /// The relative difference between the measured finish time of the last client and the time that the simulator
    /// predicts.
    PredictedLast,
}

impl Promise {
    /// Returns the key of the promise in a scenario file, such as `hold.p50`.
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

    /// Returns the name of the figure and its unit, for messages.
    fn words(self) -> (&'static str, String) {
        const OF_BOUND: &str = " x T_min";
        let (name, unit) = match self {
            Self::P50 => ("p50", OF_BOUND),
            Self::P95 => ("p95", OF_BOUND),
            Self::P99 => ("p99", OF_BOUND),
            Self::Last => ("last", OF_BOUND),
            Self::Throughput => ("throughput", " of the total rate of the seeds"),
            Self::Duplicates => ("duplicates", ""),
            Self::SeedCopies => ("seed_copies", ""),
            Self::Versus(Variant::Undisturbed) => ("last", " x the undisturbed time"),
            Self::Versus(variant) => return ("last", format!(" x the time {variant}")),
            Self::VersusHttp => ("last", " times as fast as over HTTP"),
            Self::PredictedP50 => ("p50", " off the simulator's prediction"),
            Self::PredictedLast => ("last", " off the simulator's prediction"),
        };
        (name, unit.to_owned())
    }

    /// Whether the bound of the promise is a lower bound. Otherwise it is an upper bound.
    fn has_lower_bound(self) -> bool {
        matches!(self, Self::Throughput | Self::VersusHttp)
    }

    /// Returns a message if the measured figure breaks the promise or is unknown.
    fn broken(self, figure: Option<f64>, bound: f64) -> Option<String> {
        let (name, unit) = self.words();
        let limit = if self.has_lower_bound() { "at least" } else { "at most" };
        let Some(figure) = figure else { return Some(format!("{name} is not known, promised {limit} {bound}{unit}")) };
        if if self.has_lower_bound() { figure >= bound } else { figure <= bound } {
            return None;
        }
        // Use enough decimal places to show that the figure differs from the bound.
        let digits = (2..6).find(|digits| format!("{figure:.digits$}") != format!("{bound:.digits$}")).unwrap_or(9);
        Some(format!("{name} is {figure:.digits$}{unit}, promised {limit} {bound}"))
    }
}

impl Hold {
    /// Returns all promises with their bounds.
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

    /// Returns the promises about finish times. Each entry has the name of the promise, the part of the clients that
    /// must have finished, and the bound in multiples of T_min, for example `("p50", 0.5, 1.15)`.
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

    /// Returns the promises that compare the scenario with a variant of it. Each entry has the variant, and the largest
    /// permitted ratio of the two finish times of the last client.
    pub fn comparisons(&self) -> Vec<(Variant, f64)> {
        let comparison = |(promise, bound)| match promise {
            Promise::Versus(variant) => Some((variant, bound)),
            _ => None,
        };
        self.promises().filter_map(comparison).collect()
    }

    /// Returns one message for each broken promise. `figure` returns the measured figure for a promise, or `None` if it
    /// is unknown.
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
    fn a_promise_holds_at_its_bound_and_breaks_beyond_it() {
        // Each entry has the name of a promise, a figure at the bound, and a figure that breaks the promise.
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
            let messages = hold.broken(|_| Some(beyond));
            assert_eq!(messages.len(), 1, "{name}: {messages:?}");
            assert!(messages[0].ends_with(&bound.to_string()), "{messages:?}");
            assert!(hold.broken(|_| None)[0].contains("is not known"), "an unknown figure breaks its promise");
            assert_eq!(hold.promises().next().unwrap().0.key(), format!("hold.{name}"));
        }
        let predicted = hold("predicted = 0.1");
        assert_eq!(predicted.broken(|_| Some(0.1)).len(), 0);
        assert_eq!(predicted.broken(|_| Some(0.2)).len(), 2, "one message for p50, one for last");
        assert!(Hold::default().broken(|_| None).is_empty());
    }

    #[test]
    fn a_broken_promise_is_reported_with_enough_digits() {
        let broken = |text, figure| hold(text).broken(|_| figure).remove(0);
        assert_eq!(broken("p99 = 1.35", Some(1.35004)), "p99 is 1.35004 x T_min, promised at most 1.35");
        assert_eq!(broken("p99 = 1.35", Some(2.0)), "p99 is 2.00 x T_min, promised at most 1.35");
        assert_eq!(
            broken("versus_honest = 2.0", Some(3.0)),
            "last is 3.00 x the time without hostile nodes, promised at most 2"
        );
        assert_eq!(
            broken("throughput = 0.97", None),
            "throughput is not known, promised at least 0.97 of the total rate of the seeds"
        );
    }

    #[test]
    fn deadlines_and_comparisons_are_selected_from_all_promises() {
        let hold = hold("p50 = 1.1\np95 = 1.2\np99 = 1.3\nlast = 1.4\nversus_undisturbed = 1.5\nduplicates = 0.1");
        assert_eq!(hold.deadlines(), [("p50", 0.5, 1.1), ("p95", 0.95, 1.2), ("p99", 0.99, 1.3), ("last", 1.0, 1.4)]);
        assert_eq!(hold.comparisons(), [(Variant::Undisturbed, 1.5)]);
    }
}
