//! What must hold at the end of a run on containers.

use serde::Deserialize;

use crate::docker::record::Run;
use crate::scenario::units::{Multiple, Share};

/// What must hold at the end of a run, beside what must in every one: each client that is not taken away finishes with the
/// right SHA-256, every event takes place, every hostile node has something to spoil. Nothing else, unless told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hold {
    p50: Option<Multiple>,
    p95: Option<Multiple>,
    p99: Option<Multiple>,
    last: Option<Multiple>,
    throughput: Option<Share>,
    duplicates: Option<Share>,
    seed_copies: Option<Multiple>,
    versus_undisturbed: Option<Multiple>,
    versus_http: Option<Multiple>,
    predicted: Option<Share>,
}

impl Hold {
    /// Whether the same must be run undisturbed.
    pub fn needs_undisturbed(&self) -> bool {
        self.versus_undisturbed.is_some()
    }

    /// Whether HTTP must be measured.
    pub fn needs_http(&self) -> bool {
        self.versus_http.is_some()
    }

    /// Whether the simulator must know what will happen.
    pub fn needs_prediction(&self) -> bool {
        self.predicted.is_some()
    }

    /// Whether rates of all seeds must be limited.
    pub fn needs_rates(&self) -> bool {
        let of_bound = [self.p50, self.p95, self.p99, self.last].iter().any(Option::is_some);
        of_bound || self.throughput.is_some()
    }

    /// What of it did not hold, one sentence each.
    pub fn broken(&self, run: &Run) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, part, most) in self.deadlines() {
            let ratio = run.phase.percentile(part).map(|time| time / run.t_min);
            broken.extend(above(name, ratio, most, " × T_min"));
        }
        if let Some(Share(least)) = self.throughput {
            broken.extend(below("throughput", run.throughput(), least, " of the sum of rates"));
        }
        if let Some(Share(most)) = self.duplicates {
            broken.extend(above("duplicates", Some(run.phase.duplicates()), most, ""));
        }
        if let Some(Multiple(most)) = self.seed_copies {
            broken.extend(above("seed_copies", Some(run.seed_copies()), most, ""));
        }
        if let Some(Multiple(most)) = self.versus_undisturbed {
            broken.extend(above("the last client", run.cost(), most, " × what it takes undisturbed"));
        }
        if let Some(Multiple(least)) = self.versus_http {
            broken.extend(below("the last client", run.times_faster_than_http(), least, " times as fast as over HTTP"));
        }
        if let Some(Share(most)) = self.predicted {
            for (name, error) in run.prediction_errors() {
                broken.extend(above(&format!("{name} beside the simulator's"), error, most, " off"));
            }
        }
        broken
    }

    /// What is promised as a time in T_min, with the share of the clients that must have finished by then.
    pub fn deadlines(&self) -> Vec<(&'static str, f64, f64)> {
        let all = [("p50", 0.5, self.p50), ("p95", 0.95, self.p95), ("p99", 0.99, self.p99), ("last", 1.0, self.last)];
        all.into_iter().filter_map(|(name, part, most)| Some((name, part, most?.0))).collect()
    }
}

fn above(name: &str, value: Option<f64>, most: f64, unit: &str) -> Option<String> {
    match value {
        Some(value) if value <= most => None,
        Some(value) => Some(format!("{name} is {value:.3}{unit}, promised at most {most}")),
        None => Some(format!("{name} is not known, promised at most {most}{unit}")),
    }
}

fn below(name: &str, value: Option<f64>, least: f64, unit: &str) -> Option<String> {
    match value {
        Some(value) if value >= least => None,
        Some(value) => Some(format!("{name} is {value:.3}{unit}, promised at least {least}")),
        None => Some(format!("{name} is not known, promised at least {least}{unit}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::docker::record::{ArtifactRecord, ClientRecord, NodeRecord, Outcome, Prediction, Setup, Usage};

    const SIZE: u64 = 1_000_000;

    fn hold(text: &str) -> Hold {
        toml::from_str(text).unwrap()
    }

    /// 20 clients: 10 took the first time, 9 the second, one the third. The last downloaded for 1 s less.
    fn outcome(times: [f64; 3]) -> Outcome {
        let client = |number: usize| {
            let time = times[usize::from(number >= 10) + usize::from(number >= 19)];
            ClientRecord {
                finished: Some(time),
                download_seconds: Some(time - 1.0),
                must_finish: true,
                by_source: BTreeMap::from([("seed 0".to_owned(), SIZE)]),
                duplicate_bytes: SIZE / 50,
                ..ClientRecord::default()
            }
        };
        let node =
            |name: &str, sent| NodeRecord { name: name.to_owned(), samples: vec![Usage { sent, ..Usage::default() }] };
        let nodes = vec![node("bootstrap", 9 * SIZE), node("seed 0", SIZE), node("seed 1", SIZE * 4 / 5)];
        Outcome { clients: (0..20).map(client).collect(), nodes }
    }

    /// T_min 10 s: p50 1.1, p95 1.3, p99 and last 1.6 × T_min; 0.8 of the sum of rates; 2 % duplicates; 1.8 copies;
    /// 1.25 × undisturbed; 4 times as fast as over HTTP; 10 and 20 % off what the simulator says.
    fn run() -> Run {
        let artifact = ArtifactRecord { filename: "x".to_owned(), size: SIZE, kind: "noise".to_owned() };
        let rate = 20.0 * SIZE as f64 / 15.0 / 0.8;
        let setup =
            Setup { artifacts: vec![artifact], seed_up: vec![Some(rate * 0.5); 2], clients: 20, ..Setup::default() };
        Run {
            label: "x".to_owned(),
            setup,
            t_min: 10.0,
            events: Vec::new(),
            phase: outcome([11.0, 13.0, 16.0]),
            undisturbed: Some(outcome([11.0, 12.0, 12.8])),
            http: Some(outcome([20.0, 40.0, 64.0])),
            simulated: Some(Prediction { p50: 10.0, p99: 19.0, last: 20.0 }),
            broken: Vec::new(),
        }
    }

    /// What is promised, a figure that holds, and one that does not.
    const PROMISES: [(&str, f64, f64); 10] = [
        ("p50", 1.101, 1.099),
        ("p95", 1.301, 1.299),
        ("p99", 1.601, 1.599),
        ("last", 1.601, 1.599),
        ("throughput", 0.799, 0.801),
        ("duplicates", 0.0201, 0.0199),
        ("seed_copies", 1.801, 1.799),
        ("versus_undisturbed", 1.251, 1.249),
        ("versus_http", 3.999, 4.001),
        ("predicted", 0.201, 0.199),
    ];

    #[test]
    fn each_promise_holds_up_to_its_figure() {
        for (name, kept, broken) in PROMISES {
            assert_eq!(hold(&format!("{name} = {kept}")).broken(&run()), Vec::<String>::new(), "{name}");
            let sentences = hold(&format!("{name} = {broken}")).broken(&run());
            assert_eq!(sentences.len(), 1, "{name}: {sentences:?}");
            assert!(sentences[0].contains(&broken.to_string()), "{sentences:?}");
        }
        assert_eq!(hold("predicted = 0.09").broken(&run()).len(), 2, "half of the clients, and the last");
        assert!(Hold::default().broken(&run()).is_empty());
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        let mut run = Run { undisturbed: None, http: None, simulated: None, ..run() };
        run.phase.clients.iter_mut().for_each(|client| (client.finished, client.download_seconds) = (None, None));
        for (name, kept, _) in PROMISES {
            let sentences = hold(&format!("{name} = {kept}")).broken(&run);
            let (count, words) = match name {
                "duplicates" | "seed_copies" => (0, ""),
                "predicted" => (2, "is not known"),
                _ => (1, "is not known"),
            };
            assert_eq!(sentences.len(), count, "{name}: {sentences:?}");
            assert!(sentences.iter().all(|sentence| sentence.contains(words)), "{sentences:?}");
        }
    }

    #[test]
    fn it_is_known_what_a_promise_needs() {
        let needs = |text: &str| {
            let hold = hold(text);
            [hold.needs_rates(), hold.needs_undisturbed(), hold.needs_http(), hold.needs_prediction()]
        };
        for (name, kept, _) in PROMISES {
            let expected = match name {
                "p50" | "p95" | "p99" | "last" | "throughput" => [true, false, false, false],
                "versus_undisturbed" => [false, true, false, false],
                "versus_http" => [false, false, true, false],
                "predicted" => [false, false, false, true],
                _ => [false; 4],
            };
            assert_eq!(needs(&format!("{name} = {kept}")), expected, "{name}");
        }
        let deadlines = hold("p50 = 1.1\np95 = 1.2\np99 = 1.3\nlast = 1.4").deadlines();
        assert_eq!(deadlines, [("p50", 0.5, 1.1), ("p95", 0.95, 1.2), ("p99", 0.99, 1.3), ("last", 1.0, 1.4)]);
    }
}
