//! The interface of `phase-testnet sim`: exit codes, errors with file and line, reproducible figures, and commands that
//! repeat failed runs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A small scenario that is run quickly, with two numbers of clients and two RNG seeds.
const SMALL: &str = r#"
about = "A few <clients> & one seed"
rng_seeds = [1, 2]

[[artifact]]
size = "2MiB"

[seeds]
up = "100Mbit/s"

[clients]
count = [2, 4]

[hold]
last = 100.0
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_phase-testnet")).arg("sim").args(args).env("PHASE_NO_MDNS", "1").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

#[test]
fn successful_runs_exit_with_0_and_print_a_line_each() {
    let folder = Folder::new();
    let output = sim(&[&folder.write("crowd.toml", SMALL)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let runs: Vec<Vec<_>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<_> = runs.iter().map(|run| (run[0], run[1], run[2], run[run.len() - 1])).collect();
    let expected = [("crowd-2", "1", "2"), ("crowd-2", "2", "2"), ("crowd-4", "1", "4"), ("crowd-4", "2", "4")];
    assert_eq!(names, expected.map(|(label, seed, clients)| (label, seed, clients, "ok")), "{text}");
}

#[test]
fn a_broken_promise_exits_with_1_and_prints_cause_and_replay_command() {
    let folder = Folder::new();
    let file = folder.write("crowd one.toml", &SMALL.replace("last = 100.0", "last = 0.5"));
    let output = sim(&[&file, "--check"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches("FAILED: last is ").count(), 4, "{}", stdout(&output));
    let replay = format!("phase-testnet sim '{file}' --only 'crowd one-4' --seed 2 --check");
    assert!(stderr(&output).contains(&replay), "{}", stderr(&output));

    let again = sim(&[&file, "--only", "crowd one-4", "--seed", "2", "--check"]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    let figures = |output: &Output| {
        let text = stdout(output);
        let line = text.lines().find(|line| line.starts_with("crowd one-4 ") && line.contains(" 2 ")).unwrap();
        // Ignore the last columns, because the wall time differs between runs.
        line.split_whitespace().take(12).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(figures(&again), figures(&sim(&[&file, "--only", "crowd one-4", "--seed", "2"])));
    assert_eq!(stdout(&again).lines().count(), 2, "{}", stdout(&again));
}

#[test]
fn a_run_in_which_a_client_cannot_finish_exits_with_1() {
    // The only seed is killed before it can send anything.
    let folder = Folder::new();
    let small = "[[artifact]]\nsize = \"64KiB\"\n[clients]\ncount = 2\n";
    let killed = |node| format!("{small}[[event]]\nnode = \"{node}\"\nat = \"0s\"\nchange = \"kill\"\n");
    let output = sim(&[&folder.write("alone.toml", &killed("seed 0"))]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("FAILED: 0 of 2 clients finished"), "{}", stdout(&output));
    assert_eq!(
        sim(&[&folder.write("left.toml", &killed("client 0"))]).status.code(),
        Some(0),
        "a killed client need not finish"
    );
}

#[test]
fn the_same_runs_give_the_same_json() {
    let folder = Folder::new();
    let file = folder.write("crowd.toml", SMALL);
    let (once, again) = (sim(&[&file, "--json"]), sim(&[&file, "--json"]));
    assert_eq!(once.status.code(), Some(0), "{}", stderr(&once));
    assert_eq!(stdout(&once), stdout(&again));
    // The figures of a run do not depend on other runs in the same command.
    let alone = sim(&[&file, "--json", "--only", "crowd-4", "--seed", "2"]);
    let (all, alone) = (json(&once), json(&alone));
    assert_eq!(alone["scenarios"][0]["runs"][0], all["scenarios"][0]["runs"][3]);
    assert_ne!(all["scenarios"][0]["runs"][2]["report"], all["scenarios"][0]["runs"][3]["report"]);
}

#[test]
fn the_json_has_promises_failures_and_figures() {
    let folder = Folder::new();
    let text = SMALL.replace("last = 100.0", "p50 = 0.5\nversus_honest = 50.0") + "[hostile]\ncorrupt = 1\n";
    let output = sim(&[&folder.write("crowd.toml", &text), "--json"]);
    let document = json(&output);
    assert_eq!((&document["version"], &document["held"]), (&1.into(), &false.into()));
    let scenario = &document["scenarios"][0];
    assert_eq!(scenario["promised"]["p50"], 0.5);
    let runs = scenario["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!(run["broken"].as_array().unwrap().len(), 1, "{run:#}");
        let report = &run["report"];
        assert_eq!(report["finish_times"].as_array().unwrap().len() as u64, report["clients"].as_u64().unwrap());
        assert!(report["samples"].as_array().unwrap().len() > 10);
        assert!(report["bans"].as_u64().unwrap() > 0 && run["honest"]["bans"] == 0, "{run:#}");
        assert!(run.get("undisturbed").is_none());
    }
}

#[test]
fn the_report_folder_has_figures_and_pictures() {
    let folder = Folder::new();
    let out = folder.path("made/here");
    let file = folder.write("crowd.toml", SMALL);
    let output = sim(&[&file, "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = fs::read_to_string(out.join("report.json")).unwrap();
    assert_eq!(report, stdout(&sim(&[&file, "--json"])));
    let picture = fs::read_to_string(out.join("crowd.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
    for text in [
        "crowd: 4 of 4 runs kept all promises",
        "A few &lt;clients&gt; &amp; one seed",
        "crowd-4 (2 runs)",
        "last ≤ 100",
    ] {
        assert!(picture.contains(text), "{text} is not in the picture");
    }
}

#[test]
fn an_error_in_a_file_is_reported_with_line_and_key() {
    let folder = Folder::new();
    let good = folder.write("good.toml", SMALL);
    let cases = [
        ("size.toml", "\n[[artifact]]\nsize = \"64Mib\"", ":3: artifact.0.size: \"64Mib\" is not a size"),
        ("key.toml", "[clients]\nnodes = 3", ":2: clients.nodes: unknown field `nodes`"),
        ("range.toml", "[clients]\ncount = 20001", ":2: clients.count: is 20001, but must be from 1 to 20000"),
        ("syntax.toml", "[clients", ":1: "),
    ];
    for (name, text, expected) in cases {
        let path = folder.write(name, text);
        // If one file is wrong, none of the files is run, so standard output is empty.
        let output = sim(&[&good, &path]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{name}");
        assert!(stderr(&output).starts_with(&format!("error: {path}{expected}")), "{name}: {}", stderr(&output));
    }
    fs::write(folder.path("bytes.toml"), [0xff, 0xfe]).unwrap();
    for (name, cause) in
        [("none.toml", "cannot be opened"), ("bytes.toml", "is not UTF-8 text"), ("", "cannot be read")]
    {
        let output = sim(&[folder.path(name).to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(cause), "{name}: {}", stderr(&output));
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let folder = Folder::new();
    let file = folder.write("crowd.toml", SMALL);
    let not_a_folder = folder.write("file", "");
    let below_a_file = Path::new(&not_a_folder).join("out");
    let cases: [(&[&str], &str); 10] = [
        (&["--nodes", "0"], "--nodes: is 0, but must be from 1 to 20000"),
        (&["--up", "fast"], "\"fast\" is not a rate"),
        (&["--latency", "soon"], "--latency"),
        (&["--size", "1MiBB"], "is not a size"),
        (&["--fault", "gremlins"], "expected lost, corrupt, stalled or liar"),
        (&["--fault", "lost=17"], "--fault: names client 16, which does not exist"),
        (&["--only", "crowd"], "--only"),
        (&[&file, "--only", "crowd"], "no run has the label \"crowd\"; the labels are crowd-2, crowd-4"),
        (&[&file, "--nodes", "3"], "cannot be used with"),
        (&[&file, "--out", below_a_file.to_str().unwrap()], "cannot create"),
    ];
    for (args, words) in cases {
        let output = sim(args);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn options_describe_a_swarm_without_a_scenario_file() {
    let args =
        ["--nodes", "3", "--size", "1MiB", "--seed", "4", "--nat", "0.5", "--order", "random", "--fault", "corrupt=2"];
    let output = sim(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("RNG seed 4: 3 of 3 clients finished"), "{}", stdout(&output));
    let document = json(&sim(&[&args[..], &["--json"]].concat()));
    let report = &document["scenarios"][0]["runs"][0]["report"];
    assert_eq!((&report["seed"], &report["size"]), (&4.into(), &(1 << 20).into()));
}
