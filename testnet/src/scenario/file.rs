//! Scenario files: TOML, in which one file may describe runs with several numbers of clients and several RNG seeds.

mod sections;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::place::Places;
use super::{Field, Hold, Scenario, ScenarioError};
use sections::Document;

/// The largest scenario file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most runs of one file.
const MAX_RUNS: usize = 1000;

/// What a scenario file describes.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the file without its ending.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// What must hold in each run.
    pub hold: Hold,
    /// The runs: for each number of clients one with each RNG seed.
    pub cases: Vec<Case>,
}

/// One run of a scenario file. Its label and its RNG seed name it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the file, and the number of clients where the file has several.
    pub label: String,
    /// What is run.
    pub scenario: Scenario,
    /// What must hold.
    pub hold: Hold,
}

/// A file that describes no scenario: which one, where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it can be told.
    pub line: Option<usize>,
    /// The key, with its section, if it can be told: `clients.spread`.
    pub key: Option<String>,
    /// What is wrong.
    pub cause: String,
}

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, has keys that do not exist or values that make no sense.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(path, &read_text(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        parse(path, text, |document: Document| document.into_file(path, name_of(path)))
    }
}

/// The text of a scenario file, which may be no larger than such files are.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let fail = |cause| FileError { path: path.to_owned(), line: None, key: None, cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| fail(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(format!("is larger than {MAX_FILE} bytes: is it a scenario file?")));
    }
    String::from_utf8(bytes).map_err(|_| fail("is no UTF-8 text: is it a scenario file?".to_owned()))
}

/// Reads a document, and makes of it what is wanted. Whatever is wrong is told with its place.
pub(crate) fn parse<D: DeserializeOwned, T>(
    path: &Path,
    text: &str,
    make: impl FnOnce(D) -> Result<T, Problem>,
) -> Result<T, FileError> {
    let places = Places::of(text);
    let (document, places) = match (toml::from_str::<D>(text), places) {
        (Ok(document), Ok(places)) => (document, places),
        (Err(error), Ok(places)) => return Err(places.error(path, &error)),
        (_, Err(error)) => return Err(Places::syntax_error(path, text, &error)),
    };
    make(document).map_err(|problem| FileError {
        path: path.to_owned(),
        line: places.line_of(&problem.key),
        key: Some(problem.key),
        cause: problem.cause,
    })
}

/// The name of a scenario: that of its file without the ending.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is wrong with the value of a key.
pub(crate) struct Problem {
    key: String,
    cause: String,
}

impl Problem {
    pub(crate) fn new(key: &str, cause: impl Into<String>) -> Self {
        Self { key: key.to_owned(), cause: cause.into() }
    }
}

impl Document {
    fn into_file(self, path: &Path, name: String) -> Result<ScenarioFile, Problem> {
        let (about, hold, counts) = (self.about.clone(), self.hold, self.clients.count.0.clone());
        let seeds = self.rng_seeds.clone();
        let runs = counts.len().saturating_mul(seeds.len());
        if counts.is_empty() || seeds.is_empty() {
            let key = if seeds.is_empty() { "rng_seeds" } else { "clients.count" };
            return Err(Problem::new(key, "is empty: nothing would be run"));
        } else if runs > MAX_RUNS {
            return Err(Problem::new("rng_seeds", format!("would make {runs} runs: {MAX_RUNS} are the most")));
        }
        for (key, list) in
            [("rng_seeds", &seeds), ("clients.count", &counts.iter().map(|count| (*count).into()).collect())]
        {
            if let Some(twice) =
                list.iter().enumerate().find_map(|(at, value)| list[..at].contains(value).then_some(value))
            {
                return Err(Problem::new(key, format!("has {twice} twice")));
            }
        }
        let plain = self.into_scenario()?;
        let mut cases = Vec::new();
        for nodes in &counts {
            let label = if counts.len() == 1 { name.clone() } else { format!("{name}-{nodes}") };
            for seed in &seeds {
                let scenario = Scenario { nodes: *nodes, seed: *seed, ..plain.clone() };
                scenario.check().map_err(|ScenarioError { field, problem }| Problem::new(&field.key(), problem))?;
                cases.push(Case { label: label.clone(), scenario, hold });
            }
        }
        Ok(ScenarioFile { path: path.to_owned(), name, about, hold, cases })
    }
}

impl Field {
    /// The key of a scenario file that it comes from.
    fn key(self) -> String {
        let key = match self {
            Self::Nodes | Self::AllNodes => "clients.count",
            Self::SeedUp => "seeds.up",
            Self::Size => "artifact.size",
            Self::Up => "clients.up",
            Self::Down => "clients.down",
            Self::Spread => "clients.spread",
            Self::Latency => "network.latency",
            Self::Neighbours => "network.neighbours",
            Self::Nat => "clients.nat",
            Self::ChurnEvery => "churn.every",
            Self::ChurnShare => "churn.share",
            Self::Events => "event",
            Self::Event(number) => return format!("event.{number}"),
        };
        key.to_owned()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": {key}: {}", self.cause),
            None => write!(f, ": {}", self.cause),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use fastrand::Rng;

    use super::*;
    use crate::scenario::{Change, Churn, Hostile, NodeEvent, NodeRef, When};

    fn parse(text: &str) -> Result<ScenarioFile, FileError> {
        ScenarioFile::parse(Path::new("dir/crowd.toml"), text)
    }

    fn shipped() -> Vec<(PathBuf, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/sim");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn what_is_shipped_can_be_run() {
        let files = shipped();
        assert!(files.len() >= 10);
        for (path, text) in files {
            let file = ScenarioFile::parse(&path, &text).unwrap();
            assert!(!file.about.is_empty() && !file.cases.is_empty(), "{}", path.display());
        }
    }

    /// The first TOML of the README that stands below a heading.
    pub(crate) fn shown_below(heading: &str) -> &'static str {
        let (_, section) = include_str!("../../README.md").split_once(&format!("\n{heading}\n")).unwrap();
        let (_, text) = section.split_once("```toml\n").unwrap();
        text.split_once("```").unwrap().0
    }

    #[test]
    fn what_the_readme_shows_can_be_run_and_has_the_defaults() {
        let text = shown_below("## Simulating swarms");
        assert_eq!(parse(text).unwrap().cases[0].scenario.hostile.count(), 30);
        let (plain, _) = text.split_once("[hostile]").unwrap();
        let scenario = &parse(plain).unwrap().cases[0].scenario;
        assert_eq!(format!("{scenario:?}"), format!("{:?}", Scenario::default()));
    }

    #[test]
    fn what_is_left_out_is_as_by_default() {
        let file = parse("").unwrap();
        assert_eq!((file.name.as_str(), file.cases.len(), file.hold), ("crowd", 1, Hold::default()));
        assert_eq!(format!("{:?}", file.cases[0].scenario), format!("{:?}", Scenario::default()));
    }

    #[test]
    fn every_key_arrives_where_it_belongs() {
        let text = r#"
            rng_seeds = [5]
            [artifact]
            size = "3MiB"
            [seeds]
            up = ["1MB/s", "2MB/s"]
            [clients]
            count = 7
            up = "8Mbit/s"
            down = "3MB/s"
            spread = 0.5
            nat = 0.25
            order = "sequential"
            [network]
            latency = "2s 5ms"
            neighbours = 9
            [hostile]
            corrupt = 1
            stalled = 2
            liars = 3
            [churn]
            every = 0.5
            share = 0.1
            [[event]]
            node = "seed 1"
            at = "2s"
            change = "slow"
            to = 0.01
            [[event]]
            node = "client 6"
            progress = 0.95
            change = "lost"
        "#;
        let expected = Scenario {
            seed: 5,
            nodes: 7,
            seed_up: vec![1e6, 2e6],
            size: 3 << 20,
            up: 1e6,
            down: 3e6,
            spread: 0.5,
            latency: Duration::from_millis(2005),
            neighbours: 9,
            nat: 0.25,
            hostile: Hostile { corrupt: 1, stalled: 2, liars: 3 },
            churn: Some(Churn { every: 0.5, share: 0.1 }),
            events: vec![
                NodeEvent { node: NodeRef::Seed(1), at: When::At(Duration::from_secs(2)), change: Change::Slow(0.01) },
                NodeEvent { node: NodeRef::Client(6), at: When::Progress(0.95), change: Change::Lost },
            ],
            order: phase_protocol::scheduler::Order::Sequential,
            ..Scenario::default()
        };
        let file = parse(text).unwrap();
        assert_eq!(format!("{:?}", file.cases[0].scenario), format!("{expected:?}"));
    }

    #[test]
    fn one_file_makes_many_runs() {
        let file = parse("rng_seeds = [1, 2]\n[clients]\ncount = [10, 20]\n[hold]\np50 = 1.5").unwrap();
        let runs = file.cases.iter().map(|case| (case.label.as_str(), case.scenario.nodes, case.scenario.seed));
        let expected = [("crowd-10", 10, 1), ("crowd-10", 10, 2), ("crowd-20", 20, 1), ("crowd-20", 20, 2)];
        assert!(runs.eq(expected));
        assert!(file.cases.iter().all(|case| case.hold == file.hold));
        let one = parse("[clients]\ncount = [10]").unwrap();
        assert_eq!(one.cases[0].label, "crowd");
        assert_eq!(parse("[seeds]\ncount = 3\nup = \"1MB/s\"").unwrap().cases[0].scenario.seed_up, [1e6; 3]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        // Text, line, key, and words that the cause has.
        let cases = [
            ("[artifact]\nsize = \"64Mib\"", 2, "artifact.size", "\"64Mib\" is not a size"),
            ("[artifact]\nsize = 64", 2, "artifact.size", "invalid type: integer"),
            ("[artifact]\n\nsize = \"0MiB\"", 3, "artifact.size", "is 0 bytes, but must be from 1 to 17179869184"),
            ("[artifact]\nsise = \"1MiB\"", 2, "artifact.sise", "unknown field `sise`, expected `size`"),
            ("[artefact]\nsize = \"1MiB\"", 1, "artefact", "unknown field `artefact`"),
            ("[seeds]\nup = [\"1MB/s\",\n \"fast\"]", 2, "seeds.up", "\"fast\" is not a rate"),
            ("[seeds]\ncount = 3\nup = [\"1MB/s\", \"2MB/s\"]", 2, "seeds.count", "is 3, but seeds.up lists 2"),
            ("[seeds]\nup = []", 2, "seeds.up", "is empty"),
            ("[clients]\ncount = [10, 0]", 2, "clients.count", "is 0, but must be from 1 to 20000"),
            ("[clients]\ncount = [10, -1]", 2, "clients.count.1", "invalid value: integer `-1`"),
            ("[clients]\ncount = [4, 4]", 2, "clients.count", "has 4 twice"),
            ("[clients]\ncount = []", 2, "clients.count", "is empty"),
            ("[clients]\nnat = 1.5", 2, "clients.nat", "1.5 is not a share"),
            ("[clients]\nspread = 0.95", 2, "clients.spread", "is 0.95, but must be from 0.0 to 0.9"),
            ("[clients]\norder = \"best\"", 2, "clients.order", "expected rarest, sequential or random"),
            ("[network]\nlatency = \"10\"", 2, "network.latency", "is not a time"),
            ("[network]\nlatency = \"1h\"", 2, "network.latency", "is 3600s, but must be from 0ns to 10s"),
            ("[churn]\nevery = 0.1", 1, "churn", "missing field `share`"),
            (
                "[churn]\nevery = 0.1\nshare = 0",
                3,
                "churn.share",
                "is 0.0 of the clients, but must be from 0.0001 to 1.0",
            ),
            ("[churn]\nevery = 0.0\nshare = 0.1", 2, "churn.every", "0 is not a multiple"),
            ("[hold]\np99 = -1.0", 2, "hold.p99", "-1 is not a multiple"),
            ("[hold]\nversus_honest = 2.0", 2, "hold.versus_honest", "needs members in [hostile]"),
            ("[hold]\nversus_undisturbed = 2.0", 2, "hold.versus_undisturbed", "needs [churn] or an [[event]]"),
            ("rng_seeds = []", 1, "rng_seeds", "is empty"),
        ];
        for (text, line, key, words) in cases {
            let error = parse(text).expect_err(text);
            assert_eq!((error.line, error.key.as_deref()), (Some(line), Some(key)), "{text:?}: {error}");
            assert!(error.cause.contains(words), "{text:?}: {error}");
            assert!(error.to_string().starts_with(&format!("dir/crowd.toml:{line}: {key}: ")), "{error}");
        }
        let error = parse("[artifact\nsize = 1").unwrap_err();
        assert_eq!((error.line, error.key), (Some(1), None));
    }

    #[test]
    fn events_that_make_no_sense_are_told_with_their_line() {
        // The second event begins in line 5.
        let first = "[[event]]\nnode = \"client 0\"\nat = \"1s\"\nchange = \"lost\"\n[[event]]\n";
        let cases = [
            ("node = \"seed 1\"\nat = \"1s\"\nchange = \"lost\"", 5, "event.1", "seeds are counted from 0 to 0"),
            ("node = \"peer 1\"\nat = \"1s\"\nchange = \"lost\"", 6, "event.1.node", "\"peer 1\" is not a node"),
            ("node = \"seed 0\"\nchange = \"lost\"", 5, "event.1", "either at"),
            ("node = \"seed 0\"\nat = \"1s\"\nprogress = 0.5\nchange = \"lost\"", 5, "event.1", "either at"),
            ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"", 5, "event.1", "to = 0.01"),
            ("node = \"seed 0\"\nat = \"1s\"\nchange = \"lost\"\nto = 0.5", 9, "event.1.to", "\"slow\" alone"),
            ("node = \"seed 0\"\nat = \"1s\"\nchange = \"gone\"", 8, "event.1.change", "unknown variant `gone`"),
        ];
        for (second, line, key, words) in cases {
            let error = parse(&format!("{first}{second}")).expect_err(second);
            assert_eq!((error.line, error.key.as_deref()), (Some(line), Some(key)), "{second:?}: {error}");
            assert!(error.cause.contains(words), "{second:?}: {error}");
        }
    }

    /// Whatever is in a file, there is an error or a scenario that can be run.
    #[test]
    fn no_file_is_too_broken() {
        let mut rng = Rng::with_seed(1);
        for (path, text) in shipped() {
            for _ in 0..300 {
                let mut bytes = text.clone().into_bytes();
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..bytes.len());
                    match rng.u8(..3) {
                        0 => bytes[at] = rng.u8(b' '..127),
                        1 => drop(bytes.drain(at..(at + rng.usize(1..40)).min(bytes.len()))),
                        _ => bytes.insert(at, *rng.choice(b"0919-.[]\"\n").unwrap()),
                    }
                }
                let text = String::from_utf8_lossy(&bytes);
                match ScenarioFile::parse(&path, &text) {
                    Ok(file) => assert!(file.cases.iter().all(|case| case.scenario.check().is_ok()), "{text}"),
                    Err(error) => assert!(!error.cause.is_empty() && error.line.is_some(), "{error}\n{text}"),
                }
            }
        }
    }
}
