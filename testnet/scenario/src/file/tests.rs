use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::scenario::{Afterwards, HostileKind, Kind, Order};
use crate::units::{Multiple, Size};

const ENGINES: [(Engine, &str); 2] = [(Engine::Simulator, "sim"), (Engine::Containers, "docker")];
const README: &str = include_str!("../../../README.md");

fn parse_for(engine: Engine, text: &str) -> Result<ScenarioFile, FileError> {
    ScenarioFile::parse(Path::new("dir/crowd.toml"), text, engine)
}

fn parse(text: &str) -> Result<ScenarioFile, FileError> {
    parse_for(Engine::Containers, text)
}

fn first(text: &str) -> Scenario {
    parse(text).unwrap().cases.remove(0).scenario
}

fn shipped(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_shipped_scenario_is_valid_and_listed_in_the_readme() {
    for (engine, folder) in ENGINES {
        let files = shipped(folder);
        assert!(files.len() >= 10);
        for (path, text) in files {
            let file = ScenarioFile::parse(&path, &text, engine).unwrap();
            assert!(!file.about.is_empty() && !file.cases.is_empty(), "{}", path.display());
            let row = format!("| `{}` | {} |", file.name, file.about);
            assert!(README.contains(&row), "testnet/README.md lacks this line:\n{row}");
        }
    }
}

#[test]
fn the_example_of_the_readme_is_valid_and_has_the_defaults() {
    let (_, section) = README.split_once("\n## Scenario files\n").unwrap();
    let (_, text) = section.split_once("```toml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let (plain, _) = text.split_once("# From here on").unwrap();
    assert_eq!(first(plain), Scenario::default());
    // Enable the keys of the example that are commented out. Without the lines for the simulator, the example must be
    // valid for the lab. Without the lines for the lab, it must be valid for the simulator.
    let text = text.replace("\n#up", "\nup").replace("\n#down", "\ndown").replace("\n#neighbours", "\nneighbours");
    for (engine, mark) in [(Engine::Simulator, "# containers: "), (Engine::Containers, "# simulator: ")] {
        let lines: String = text.lines().filter(|line| !line.contains(mark)).map(|line| format!("{line}\n")).collect();
        let scenario =
            parse_for(engine, &lines).unwrap_or_else(|error| panic!("{error}\n{lines}")).cases.remove(0).scenario;
        assert!(scenario.events.len() == 1 && scenario.hold.promises().count() >= 7, "{scenario:?}");
        assert!(parse_for(engine, &text).is_err(), "keys of the other engine must be refused: {engine}");
    }
}

#[test]
fn a_key_that_is_left_out_has_its_default() {
    let file = parse("").unwrap();
    assert_eq!((file.name.as_str(), file.about.as_str()), ("crowd", ""));
    assert_eq!(file.cases, [Case { label: "crowd".to_owned(), scenario: Scenario::default() }]);
    let one = Artifact { size: Size(1 << 20), kind: Kind::Noise };
    assert_eq!(first("[[artifact]]\nsize = \"1MiB\"").artifacts, [one]);
    assert_eq!(first("[seeds]\ncount = 2").seeds, [None, None]);
    assert_eq!(first("[network]\nlatency = \"0s\""), Scenario::default());
}

#[test]
fn every_key_sets_its_field() {
    let both = r#"
        about = "all of it"
        rng_seeds = [5]
        [hostile]
        lie = 2
        corrupt = 1
        [seeds]
        up = ["1MB/s", "2MB/s"]
        [network]
        latency = "1s 5ms"
        [[event]]
        node = ["seed 1", "client 3"]
        progress = 0.5
        change = "slow"
        to = 0.25
        [[event]]
        node = "client 6"
        at = "2s 5ms"
        change = "kill"
        [hold]
        duplicates = 0.5
    "#;
    let expected = Scenario {
        rng_seed: 5,
        hostile: Hostile([(HostileKind::Corrupt, 1), (HostileKind::Lie, 2)].into()),
        seeds: vec![Some(Rate(1e6)), Some(Rate(2e6))],
        clients: Clients { count: 7, up: Some(Rate(1e6)), down: Some(Rate(3e6)), ..Clients::default() },
        events: vec![
            Event {
                nodes: vec![NodeName::Seed(1), NodeName::Client(3)],
                when: When::Progress(0.5),
                change: Change::Slow(0.25),
            },
            Event {
                nodes: vec![NodeName::Client(6)],
                when: When::At(Duration::from_millis(2005)),
                change: Change::Kill,
            },
        ],
        hold: toml::from_str("duplicates = 0.5").unwrap(),
        ..Scenario::default()
    };
    let clients = "[clients]\ncount = 7\nup = \"8Mbit/s\"\ndown = \"3MB/s\"\n";
    let latency = |time: &str| both.replace("1s 5ms", time);

    let containers_only = r#"
        first_peers = ["seed 1", "bootstrap"]
        afterwards = "leave"
        [[artifact]]
        size = "3MiB"
        [[artifact]]
        size = "1MB"
        kind = "sparse"
        [[event]]
        node = "hostile 2"
        done = "client 3"
        change = "restart"
        [baseline]
        http = false
    "#;
    let text = format!("{}{clients}{containers_only}", latency("5ms"));
    let file = parse(&text).unwrap();
    assert_eq!((file.about.as_str(), file.text.as_str()), ("all of it", text.as_str()));
    let mut in_containers = expected.clone();
    in_containers.artifacts = vec![
        Artifact { size: Size(3 << 20), kind: Kind::Noise },
        Artifact { size: Size(1_000_000), kind: Kind::Sparse },
    ];
    in_containers.clients.first_peers = vec![NodeName::Seed(1), NodeName::Bootstrap];
    in_containers.clients.afterwards = Afterwards::Leave;
    in_containers.network.latency = Duration::from_millis(5);
    in_containers.http = false;
    let restart = Event { nodes: vec![NodeName::Hostile(2)], when: When::Done(3), change: Change::Restart };
    in_containers.events.push(restart);
    assert_eq!(file.cases, [Case { label: "crowd".to_owned(), scenario: in_containers }]);

    let simulator_only = r#"
        spread = 0.5
        nat = 0.25
        order = "sequential"
        [churn]
        every = 0.5
        share = 0.1
    "#;
    let text = format!("{}{clients}{simulator_only}", latency("2s 5ms\"\nneighbours = 9 #"));
    let mut simulated = expected;
    simulated.clients = Clients { spread: Share(0.5), nat: Share(0.25), order: Order::Sequential, ..simulated.clients };
    simulated.network = Network { latency: Duration::from_millis(2005), neighbours: Some(9) };
    simulated.churn = Some(Churn { every: Multiple(0.5), share: Share(0.1) });
    let file = parse_for(Engine::Simulator, &text).unwrap();
    assert_eq!(file.cases, [Case { label: "crowd".to_owned(), scenario: simulated }]);
}

#[test]
fn every_word_of_change_and_afterwards_is_accepted() {
    for (word, change) in CHANGES.iter().filter(|(word, _)| *word != "slow") {
        let event = |word: &str| format!("[[event]]\nnode = \"seed 0\"\nat = \"1s\"\nchange = \"{word}\"\n");
        let before = if *change == Change::Resume { event("pause") } else { String::new() };
        let scenario = first(&(before + &event(word)));
        assert_eq!(scenario.events.last().unwrap().change, *change, "{word}");
    }
    let afterwards = [("linger", Afterwards::Linger), ("provide", Afterwards::Provide), ("leave", Afterwards::Leave)];
    for (word, expected) in afterwards {
        assert_eq!(first(&format!("[clients]\nafterwards = \"{word}\"")).clients.afterwards, expected, "{word}");
    }
}

#[test]
fn a_file_with_lists_makes_one_run_for_each_combination() {
    let runs = |engine, text: &str| -> Vec<(String, usize, u32, u64)> {
        let cases = parse_for(engine, text).unwrap().cases.into_iter();
        let numbers = |scenario: &Scenario| (scenario.seeds.len(), scenario.clients.count, scenario.rng_seed);
        cases.map(|case| (case.label, numbers(&case.scenario))).map(|(label, (s, c, r))| (label, s, c, r)).collect()
    };
    let run = |label: &str, seeds, clients, rng| (label.to_owned(), seeds, clients, rng);
    let up = "up = \"1MB/s\"";
    for (engine, _) in ENGINES {
        let runs = |text: &str| runs(engine, text);
        let text = format!("[clients]\ncount = [4, 8]\n[seeds]\n{up}");
        assert_eq!(runs(&text), [run("crowd-4", 1, 4, 0), run("crowd-8", 1, 8, 0)]);
        let text = format!("[seeds]\ncount = [1, 3]\n{up}\n[clients]\ncount = 2");
        assert_eq!(runs(&text), [run("crowd-1", 1, 2, 0), run("crowd-3", 3, 2, 0)]);
        assert_eq!(runs(&format!("[clients]\ncount = [4]\n[seeds]\ncount = [2]\n{up}")), [run("crowd", 2, 4, 0)]);
    }
    let text = format!("rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]\n[seeds]\n{up}");
    let expected = [run("crowd-4", 1, 4, 1), run("crowd-4", 1, 4, 2), run("crowd-8", 1, 8, 1), run("crowd-8", 1, 8, 2)];
    assert_eq!(runs(Engine::Simulator, &text), expected);
    assert_eq!(first("[seeds]\ncount = [2, 3]\nup = \"1MB/s\"").seeds, [Some(Rate(1e6)); 2]);
    let two = [Some(Rate(1e6)), Some(Rate(2e6))];
    assert_eq!(first("[seeds]\ncount = 2\nup = [\"1MB/s\", \"2MB/s\"]").seeds, two);
}

/// Asserts that each text is refused with the given line and key, and with a cause that contains the given words.
fn assert_refused(engine: Engine, cases: &[(&str, usize, &str, &str)]) {
    for (text, line, key, words) in cases {
        let error = parse_for(engine, text).expect_err(text);
        assert_eq!((error.line, error.key.as_deref()), (Some(*line), Some(*key)), "{text:?}: {error}");
        assert!(error.cause.contains(words), "{text:?}: {error}");
        assert!(error.to_string().starts_with(&format!("dir/crowd.toml:{line}: {key}: ")), "{error}");
    }
}

#[test]
fn an_error_names_its_line_and_key() {
    assert_refused(
        Engine::Containers,
        &[
            ("rng_seed = 1", 1, "rng_seed", "unknown field `rng_seed`, expected one of"),
            ("rng_seeds = []", 1, "rng_seeds", "is empty"),
            ("rng_seeds = [1, 2]", 1, "rng_seeds", "for the simulator only"),
            ("[hostile]\nevil = 1", 2, "hostile.evil", "unknown variant `evil`, expected one of `corrupt`"),
            ("[artefact]\nsize = \"1MiB\"", 1, "artefact", "unknown field `artefact`"),
            ("[artifact]\nsize = \"1MiB\"", 1, "artifact", "invalid type: map"),
            ("[[artifact]]\nsize = \"64Mib\"", 2, "artifact.0.size", "\"64Mib\" is not a size"),
            ("[[artifact]]\nsize = 64", 2, "artifact.0.size", "invalid type: integer"),
            ("[[artifact]]\nkind = \"noise\"", 1, "artifact.0", "missing field `size`"),
            ("[[artifact]]\nsize = \"1B\"\nkind = \"text\"", 3, "artifact.0.kind", "unknown variant `text`"),
            (
                "[[artifact]]\nsize = \"1B\"\n[[artifact]]\nsize = \"0B\"",
                4,
                "artifact.1.size",
                "is 0 bytes, but must be",
            ),
            (
                "[[artifact]]\nsize = \"3GiB\"\n[[artifact]]\nsize = \"2GiB\"",
                4,
                "artifact.1.size",
                "the limit is 4294967296",
            ),
            ("[seeds]\nup = \"fast\"", 2, "seeds.up", "\"fast\" is not a rate"),
            ("[seeds]\nup = [\"1MB/s\",\n \"fast\"]", 2, "seeds.up", "\"fast\" is not a rate"),
            ("[seeds]\nup = []", 2, "seeds.up", "is empty"),
            ("[seeds]\nup = \"79kbit/s\"", 2, "seeds.up", "is 79 kbit/s, but must be from 80 kbit/s to 10 Gbit/s"),
            ("[seeds]\ncount = 0", 2, "seeds.count", "is 0, but must be from 1 to 250"),
            ("[seeds]\ncount = 3\nup = [\"1MB/s\", \"2MB/s\"]", 2, "seeds.count", "does not match seeds.up"),
            ("[seeds]\ncount = [2, 2]", 2, "seeds.count", "has 2 twice"),
            ("[seeds]\ncount = 4000000000", 2, "seeds.count", "must be from 1 to 250"),
            ("[clients]\ncount = 4000000000", 2, "clients.count", "is 4000000000, but must be from 1 to 250"),
            (
                "[clients]\ncount = [200, 249]",
                2,
                "clients.count",
                "makes 251 nodes in total, including the bootstrap node",
            ),
            ("[clients]\ncount = []", 2, "clients.count", "is empty"),
            ("[clients]\ncount = [4, 4]", 2, "clients.count", "has 4 twice"),
            ("[clients]\ncount = 0", 2, "clients.count", "is 0, but must be"),
            ("[clients]\ncount = [10, -1]", 2, "clients.count.1", "invalid value: integer `-1`"),
            ("[clients]\ncount = [1, 2]\n[seeds]\ncount = [1, 2]", 2, "clients.count", "only one of the two"),
            ("[clients]\nup = \"10001Mbit/s\"", 2, "clients.up", "from 80 kbit/s to 10 Gbit/s"),
            ("[clients]\ndown = \"1kB/s\"", 2, "clients.down", "from 80 kbit/s to 10 Gbit/s"),
            ("[clients]\nfirst_peers = []", 2, "clients.first_peers", "is empty"),
            (
                "[clients]\nfirst_peers = [\"seed 1\"]",
                2,
                "clients.first_peers",
                "has seed 1: only the bootstrap node and",
            ),
            ("[clients]\nfirst_peers = [\"client 0\"]", 2, "clients.first_peers", "only the bootstrap node and seeds"),
            ("[clients]\nfirst_peers = [\"server\"]", 2, "clients.first_peers", "\"server\" is not a node"),
            ("[clients]\nafterwards = \"sleep\"", 2, "clients.afterwards", "unknown variant `sleep`"),
            ("[clients]\nspread = 0.2", 2, "clients.spread", "for the simulator only"),
            ("[network]\nlatency = \"10\"", 2, "network.latency", "is not a time"),
            ("[network]\nlatency = \"1001ms\"", 2, "network.latency", "is 1.001s, but must be from 0ns to 1s"),
            ("[network]\nneighbours = 3", 2, "network.neighbours", "for the simulator only"),
            ("[churn]\nevery = 0.1\nshare = 0.1", 1, "churn", "for the simulator only"),
            ("[baseline]\nhttp = 1", 2, "baseline.http", "invalid type: integer"),
            ("[hold]\np99 = -1.0", 2, "hold.p99", "-1 is not a multiple"),
            ("[hold]\nduplicates = 1.5", 2, "hold.duplicates", "1.5 is not a share"),
            ("[hold]\nwishes = 1.5", 2, "hold.wishes", "unknown field"),
            ("[hold]\np50 = 1.5", 2, "hold.p50", "needs seeds.up"),
            ("[hold]\nthroughput = 0.9", 2, "hold.throughput", "needs seeds.up"),
            (
                "[hold]\nversus_undisturbed = 2.0",
                2,
                "hold.versus_undisturbed",
                "needs [hostile], [churn] or an [[event]]",
            ),
            ("[baseline]\nhttp = false\n[hold]\nversus_http = 2.0", 4, "hold.versus_http", "needs baseline.http"),
            (
                "[seeds]\nup = \"1MB/s\"\n[hostile]\ndrip = 1\n[hold]\npredicted = 0.1",
                6,
                "hold.predicted",
                "that the simulator can run: ",
            ),
            ("[hostile]\nlie = 249", 1, "hostile", "makes 252 nodes in total"),
        ],
    );
    assert_refused(
        Engine::Simulator,
        &[
            ("[clients]\ncount = [10, 0]", 2, "clients.count", "is 0, but must be from 1 to 20000"),
            ("[clients]\nnat = 1.5", 2, "clients.nat", "1.5 is not a share"),
            ("[clients]\nspread = 0.95", 2, "clients.spread", "is 0.95, but must be from 0.0 to 0.9"),
            ("[clients]\norder = \"best\"", 2, "clients.order", "unknown variant `best`, expected one of `rarest`"),
            ("[network]\nlatency = \"1h\"", 2, "network.latency", "is 3600s, but must be from 0ns to 10s"),
            ("[churn]\nevery = 0.1", 1, "churn", "missing field `share`"),
            (
                "[churn]\nevery = 0.1\nshare = 0",
                3,
                "churn.share",
                "is 0.0 of the clients, but must be from 0.0001 to 1.0",
            ),
            ("[churn]\nevery = 0.0\nshare = 0.1", 2, "churn.every", "0 is not a multiple"),
            ("[seeds]\nup = \"1MB/s\"\n[hold]\nversus_honest = 2.0", 4, "hold.versus_honest", "needs [hostile]"),
            (
                "[seeds]\nup = \"1MB/s\"\n[hold]\nversus_http = 2.0",
                4,
                "hold.versus_http",
                "for networks of containers only",
            ),
            ("[seeds]\nup = \"1MB/s\"\n[hostile]\ndrip = 2", 4, "hostile.drip", "the simulator cannot run it"),
        ],
    );
    let error = parse("[artifact\nsize = 1").unwrap_err();
    assert_eq!((error.line, error.key), (Some(1), None));
    let error = parse(&"[[artifact]]\nsize = \"1B\"\n".repeat(1001)).unwrap_err();
    assert!(error.cause.contains("occurs 1001 times") && error.line == Some(1), "{error}");
}

#[test]
fn an_impossible_event_is_refused_with_its_line() {
    // The second event begins in line 7 of each text. The scenario has one seed and two clients, without rate limits.
    let before = "[clients]\ncount = 2\n[[event]]\nnode = \"client 0\"\nat = \"1s\"\nchange = \"kill\"\n";
    let cases = [
        ("node = \"seed 1\"\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "seed 1, which does not exist"),
        ("node = \"hostile 0\"\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "hostile 0, which does not exist"),
        ("node = \"peer 1\"\nat = \"1s\"\nchange = \"kill\"", 8, "event.1.node", "\"peer 1\" is not a node"),
        ("node = []\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "names no node"),
        ("node = \"seed 0\"\nat = \"1s\"", 7, "event.1", "missing field `change`"),
        ("node = \"seed 0\"\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"1s\"\nprogress = 0.5\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"1s\"\ndone = \"client 0\"\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"61m\"\nchange = \"kill\"", 7, "event.1", "must be from 0ns to 3600s"),
        ("node = \"seed 0\"\nprogress = 2\nchange = \"kill\"", 9, "event.1.progress", "2 is not a share"),
        ("node = \"seed 0\"\ndone = \"seed 0\"\nchange = \"kill\"", 9, "event.1.done", "is not a client"),
        ("node = \"seed 0\"\ndone = \"client 2\"\nchange = \"kill\"", 7, "event.1", "waits for client 2"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"gone\"", 10, "event.1.change", "\"gone\" is not a change"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"", 7, "event.1", "to = 0.01"),
        (
            "node = \"seed 0\"\nat = \"1s\"\nchange = \"kill\"\nto = 0.5",
            11,
            "event.1.to",
            "only with change = \"slow\"",
        ),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"\nto = 0.5", 7, "event.1", "whose link has no rate limit"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"\nto = 0.0", 7, "event.1", "from 0.001 to 1"),
        ("node = \"client 1\"\nat = \"1s\"\nchange = \"corrupt\"", 7, "event.1", "only to seeds"),
        ("node = \"bootstrap\"\nat = \"1s\"\nchange = \"lie\"", 7, "event.1", "only to seeds"),
        ("node = \"bootstrap\"\nat = \"1s\"\nchange = \"start\"", 7, "event.1", "must run from the start"),
        ("node = \"client 0\"\nat = \"1s\"\nchange = \"pause\"", 7, "event.1", "client 0 is not running at that time"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"resume\"", 7, "event.1", "seed 0 is running at that time"),
        ("node = \"client 1\"\nat = \"1s\"\nchange = \"stop\"", 3, "event", "stops or freezes every client for good"),
    ]
    .map(|(second, line, key, words)| (format!("{before}[[event]]\n{second}"), line, key, words));
    assert_refused(
        Engine::Containers,
        &cases.each_ref().map(|(text, line, key, words)| (text.as_str(), *line, *key, *words)),
    );
    let start = |node: &str| format!("[[event]]\nnode = {node}\nat = \"1s\"\nchange = \"start\"\n");
    let error = parse(&format!("[clients]\ncount = 2\n{}", start("[\"client 0\", \"client 1\"]"))).unwrap_err();
    assert!(error.cause.contains("starts every client") && error.line == Some(3), "{error}");
    let error = parse(&format!("[clients]\nfirst_peers = [\"seed 0\"]\n{}", start("\"seed 0\""))).unwrap_err();
    assert!(error.cause.contains("has seed 0, which an event starts later") && error.line == Some(2), "{error}");
    let error = parse(&start("\"seed 0\"").repeat(1001)).unwrap_err();
    assert!(error.cause.contains("occurs 1001 times") && error.line == Some(1), "{error}");
}

/// Reads shipped scenario files after random changes of some bytes.
#[test]
fn a_damaged_file_gives_a_valid_scenario_or_an_error_with_a_line() {
    let mut rng = Rng::with_seed(1);
    for (engine, folder) in ENGINES {
        for (path, text) in shipped(folder) {
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
                match ScenarioFile::parse(&path, &text, engine) {
                    Ok(file) => assert!(file.cases.iter().all(|case| case.scenario.check(engine).is_ok()), "{text}"),
                    Err(error) => assert!(!error.cause.is_empty() && error.line.is_some(), "{error}\n{text}"),
                }
            }
        }
    }
}
