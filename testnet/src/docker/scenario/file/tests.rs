use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::scenario::file::tests::shown_below;

fn parse(text: &str) -> Result<ScenarioFile, FileError> {
    ScenarioFile::parse(Path::new("dir/crowd.toml"), text)
}

fn first(text: &str) -> Scenario {
    parse(text).unwrap().cases.remove(0).1
}

fn shipped() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/docker");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn what_is_shipped_can_be_run_and_is_in_the_readme() {
    let files = shipped();
    assert!(files.len() >= 10);
    let readme = include_str!("../../../../README.md");
    for (path, text) in files {
        let file = ScenarioFile::parse(&path, &text).unwrap();
        assert!(!file.about.is_empty() && !file.cases.is_empty(), "{}", path.display());
        let row = format!("| `{}` | {} |", file.name, file.about);
        assert!(readme.contains(&row), "the README should have\n{row}");
    }
}

#[test]
fn what_the_readme_shows_can_be_run_and_has_the_defaults() {
    let text = shown_below("## Networks of containers");
    assert_eq!(first(text.split_once("# From here on").unwrap().0), Scenario::default());
    // With the lines that are not there by default.
    let scenario = first(&text.replace("\n#up", "\nup").replace("\n#down", "\ndown"));
    assert_eq!(scenario.events.len(), 1);
    assert!([scenario.seeds[0], scenario.client_up, scenario.client_down].iter().all(Option::is_some));
    let promises = format!("{:?}", scenario.hold);
    assert!(!promises.contains("None"), "each promise is shown: {promises}");
}

#[test]
fn what_is_left_out_is_as_by_default() {
    let file = parse("").unwrap();
    assert_eq!((file.name.as_str(), file.about.as_str()), ("crowd", ""));
    assert_eq!(file.cases, [("crowd".to_owned(), Scenario::default())]);
    assert_eq!(first("[[artifact]]\nsize = \"1MiB\"").artifacts, [Artifact { size: 1 << 20, kind: Kind::Noise }]);
    assert_eq!(first("[seeds]\ncount = 2").seeds, [None, None]);
    assert_eq!(first("[network]\nlatency = \"0s\""), Scenario::default());
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let text = r#"
        about = "all of it"
        rng_seed = 5
        hostile = ["drip", "lie"]
        [[artifact]]
        size = "3MiB"
        [[artifact]]
        size = "1MB"
        kind = "sparse"
        [seeds]
        up = ["1MB/s", "2MB/s"]
        [clients]
        count = 7
        up = "8Mbit/s"
        down = "3MB/s"
        first_peers = ["seed 1", "bootstrap"]
        afterwards = "leave"
        [[event]]
        node = "client 6"
        at = "2s 5ms"
        change = "start"
        [[event]]
        node = ["seed 1", "hostile 0"]
        progress = 0.5
        change = "slow"
        to = 0.25
        [[event]]
        node = "seed 0"
        done = "client 3"
        change = "lie"
        [baseline]
        http = false
        [hold]
        duplicates = 0.5
    "#;
    let event = |nodes: &[NodeName], when, change| Event { nodes: nodes.to_vec(), when, change };
    let expected = Scenario {
        rng_seed: 5,
        artifacts: vec![
            Artifact { size: 3 << 20, kind: Kind::Noise },
            Artifact { size: 1_000_000, kind: Kind::Sparse },
        ],
        seeds: vec![Some(1e6), Some(2e6)],
        clients: 7,
        client_up: Some(1e6),
        client_down: Some(3e6),
        first_peers: vec![NodeName::Seed(1), NodeName::Bootstrap],
        afterwards: Afterwards::Leave,
        latency: Duration::ZERO,
        hostile: vec![Harm::Drip, Harm::Lie],
        events: vec![
            event(&[NodeName::Client(6)], When::At(Duration::from_millis(2005)), Change::Start),
            event(&[NodeName::Seed(1), NodeName::Hostile(0)], When::Progress(0.5), Change::Slow(0.25)),
            event(&[NodeName::Seed(0)], When::Done(3), Change::Lie),
        ],
        http: false,
        hold: toml::from_str("duplicates = 0.5").unwrap(),
    };
    let file = parse(text).unwrap();
    assert_eq!((file.about.as_str(), file.text.as_str()), ("all of it", text));
    assert_eq!(file.cases, [("crowd".to_owned(), expected)]);
}

#[test]
fn every_word_is_known() {
    let changes = [
        ("start", Change::Start),
        ("kill", Change::Kill),
        ("stop", Change::Stop),
        ("restart", Change::Restart),
        ("pause", Change::Pause),
        ("resume", Change::Resume),
        ("partition", Change::Partition),
        ("heal", Change::Heal),
        ("corrupt", Change::Corrupt),
        ("lie", Change::Lie),
    ];
    for (word, change) in changes {
        let event = |word: &str| format!("[[event]]\nnode = \"seed 0\"\nat = \"1s\"\nchange = \"{word}\"\n");
        let before = if change == Change::Resume { event("pause") } else { String::new() };
        let scenario = first(&(before + &event(word)));
        assert_eq!(scenario.events.last().unwrap().change, change, "{word}");
    }
    let afterwards = [("linger", Afterwards::Linger), ("provide", Afterwards::Provide), ("leave", Afterwards::Leave)];
    for (word, expected) in afterwards {
        assert_eq!(first(&format!("[clients]\nafterwards = \"{word}\"")).afterwards, expected, "{word}");
    }
}

#[test]
fn one_file_makes_many_runs() {
    let numbers = |text: &str| -> Vec<(String, usize, u32)> {
        let file = parse(text).unwrap();
        file.cases.into_iter().map(|(label, scenario)| (label, scenario.seeds.len(), scenario.clients)).collect()
    };
    let run = |label: &str, seeds, clients| (label.to_owned(), seeds, clients);
    assert_eq!(numbers("[clients]\ncount = [4, 8]"), [run("crowd-4", 1, 4), run("crowd-8", 1, 8)]);
    assert_eq!(numbers("[seeds]\ncount = [1, 3]\n[clients]\ncount = 2"), [run("crowd-1", 1, 2), run("crowd-3", 3, 2)]);
    assert_eq!(numbers("[clients]\ncount = [4]\n[seeds]\ncount = [2]"), [run("crowd", 2, 4)]);
    assert_eq!(first("[seeds]\ncount = [2, 3]\nup = \"1MB/s\"").seeds, [Some(1e6); 2]);
    assert_eq!(first("[seeds]\ncount = 2\nup = [\"1MB/s\", \"2MB/s\"]").seeds, [Some(1e6), Some(2e6)]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    // Text, line, key, and words that the cause has.
    let cases = [
        ("rng_seeds = [1]", 1, "rng_seeds", "unknown field `rng_seeds`, expected one of"),
        ("hostile = [\"evil\"]", 1, "hostile", "\"evil\" is no harm that is known"),
        ("[artifact]\nsize = \"1MiB\"", 1, "artifact", "invalid type: map"),
        ("[[artifact]]\nsize = \"64Mib\"", 2, "artifact.0.size", "\"64Mib\" is not a size"),
        ("[[artifact]]\nkind = \"noise\"", 1, "artifact.0", "missing field `size`"),
        ("[[artifact]]\nsize = \"1B\"\nkind = \"text\"", 3, "artifact.0.kind", "unknown variant `text`"),
        ("[[artifact]]\nsize = \"1B\"\n[[artifact]]\nsize = \"0B\"", 4, "artifact.1.size", "and none 0"),
        ("[[artifact]]\nsize = \"3GiB\"\n[[artifact]]\nsize = \"2GiB\"", 4, "artifact.1.size", "to 4294967296 bytes"),
        ("[seeds]\nup = \"fast\"", 2, "seeds.up", "\"fast\" is not a rate"),
        ("[seeds]\nup = []", 2, "seeds.up", "is empty"),
        ("[seeds]\nup = \"79kbit/s\"", 2, "seeds.up", "from 80 kbit/s to 10 Gbit/s"),
        ("[seeds]\ncount = 0", 2, "seeds.count", "is 0: there would be nothing to see"),
        ("[seeds]\ncount = 3\nup = [\"1MB/s\", \"2MB/s\"]", 2, "seeds.count", "does not go with seeds.up"),
        ("[seeds]\ncount = [2, 2]", 2, "seeds.count", "has 2 twice"),
        ("[seeds]\ncount = 4000000000", 2, "seeds.count", "250 are the most"),
        ("[clients]\ncount = 4000000000", 2, "clients.count", "makes 4000000002 nodes in all"),
        ("[clients]\ncount = [200, 249]", 2, "clients.count", "makes 251 nodes in all"),
        ("[clients]\ncount = []", 2, "clients.count", "is empty"),
        ("[clients]\ncount = [4, 4]", 2, "clients.count", "has 4 twice"),
        ("[clients]\ncount = 0", 2, "clients.count", "is 0"),
        ("[clients]\ncount = [10, -1]", 2, "clients.count.1", "invalid value: integer `-1`"),
        ("[clients]\ncount = [1, 2]\n[seeds]\ncount = [1, 2]", 2, "clients.count", "only one of them"),
        ("[clients]\nup = \"10001Mbit/s\"", 2, "clients.up", "from 80 kbit/s to 10 Gbit/s"),
        ("[clients]\ndown = \"1kB/s\"", 2, "clients.down", "from 80 kbit/s to 10 Gbit/s"),
        ("[clients]\nfirst_peers = []", 2, "clients.first_peers", "is empty"),
        ("[clients]\nfirst_peers = [\"seed 1\"]", 2, "clients.first_peers", "has seed 1: only bootstrap and seeds"),
        ("[clients]\nfirst_peers = [\"client 0\"]", 2, "clients.first_peers", "only bootstrap and seeds"),
        ("[clients]\nfirst_peers = [\"nobody\"]", 2, "clients.first_peers", "\"nobody\" is not a node"),
        ("[clients]\nafterwards = \"sleep\"", 2, "clients.afterwards", "unknown variant `sleep`"),
        ("[network]\nlatency = \"10\"", 2, "network.latency", "is not a time"),
        ("[network]\nlatency = \"1001ms\"", 2, "network.latency", "is 1.001s, but must be from 0 to 1s"),
        ("[network]\nneighbours = 3", 2, "network.neighbours", "unknown field"),
        ("[baseline]\nhttp = 1", 2, "baseline.http", "invalid type: integer"),
        ("[hold]\np99 = -1.0", 2, "hold.p99", "-1 is not a multiple"),
        ("[hold]\nduplicates = 1.5", 2, "hold.duplicates", "1.5 is not a share"),
        ("[hold]\nversus_honest = 1.5", 2, "hold.versus_honest", "unknown field"),
        ("[hold]\np50 = 1.5", 1, "hold", "needs seeds.up"),
        ("[hold]\nthroughput = 0.9", 1, "hold", "needs seeds.up"),
        ("[seeds]\nup = \"1MB/s\"\n[hold]\nversus_undisturbed = 2.0", 3, "hold", "an [[event]] to compare with"),
        ("[baseline]\nhttp = false\n[hold]\nversus_http = 2.0", 3, "hold", "needs baseline.http"),
        ("hostile = [\"drip\"]\n[hold]\npredicted = 0.1", 2, "hold", "that the simulator can run"),
    ];
    for (text, line, key, words) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!((error.line, error.key.as_deref()), (Some(line), Some(key)), "{text:?}: {error}");
        assert!(error.cause.contains(words), "{text:?}: {error}");
        assert!(error.to_string().starts_with(&format!("dir/crowd.toml:{line}: {key}: ")), "{error}");
    }
    let error = parse("[artifact\nsize = 1").unwrap_err();
    assert_eq!((error.line, error.key), (Some(1), None));
    let many = format!("hostile = [{}]", "\"lie\", ".repeat(249));
    let error = parse(&many).unwrap_err();
    assert_eq!((error.line, error.key.as_deref()), (Some(1), Some("hostile")), "{error}");
    let error = parse(&"[[artifact]]\nsize = \"1B\"\n".repeat(1001)).unwrap_err();
    assert!(error.cause.contains("1000 are the most") && error.line == Some(1), "{error}");
}

#[test]
fn events_that_make_no_sense_are_told_with_their_line() {
    // The second event begins in line 7. There are a seed and two clients; only what the first event is about has a limit.
    let before = "[clients]\ncount = 2\n[[event]]\nnode = \"client 0\"\nat = \"1s\"\nchange = \"kill\"\n";
    let cases = [
        ("node = \"seed 1\"\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "seed 1, which there is not"),
        ("node = \"hostile 0\"\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "hostile 0, which there is not"),
        ("node = \"peer 1\"\nat = \"1s\"\nchange = \"kill\"", 8, "event.1.node", "\"peer 1\" is not a node"),
        ("node = []\nat = \"1s\"\nchange = \"kill\"", 7, "event.1", "happens to nobody"),
        ("node = \"seed 0\"\nat = \"1s\"", 7, "event.1", "missing field `change`"),
        ("node = \"seed 0\"\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"1s\"\nprogress = 0.5\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"1s\"\ndone = \"client 0\"\nchange = \"kill\"", 7, "event.1", "needs one of at"),
        ("node = \"seed 0\"\nat = \"61m\"\nchange = \"kill\"", 7, "event.1", "is later than 3600s"),
        ("node = \"seed 0\"\nprogress = 2\nchange = \"kill\"", 9, "event.1.progress", "2 is not a share"),
        ("node = \"seed 0\"\ndone = \"seed 0\"\nchange = \"kill\"", 9, "event.1.done", "is not a client"),
        ("node = \"seed 0\"\ndone = \"client 2\"\nchange = \"kill\"", 7, "event.1", "waits for client 2"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"gone\"", 10, "event.1.change", "unknown variant `gone`"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"", 7, "event.1", "to = 0.01"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"kill\"\nto = 0.5", 11, "event.1.to", "\"slow\" alone"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"\nto = 0.5", 7, "event.1", "whose link has no limit"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"slow\"\nto = 0.0", 7, "event.1", "from 0.001 to 1"),
        ("node = \"client 1\"\nat = \"1s\"\nchange = \"corrupt\"", 7, "event.1", "only to seeds"),
        ("node = \"bootstrap\"\nat = \"1s\"\nchange = \"lie\"", 7, "event.1", "only to seeds"),
        ("node = \"bootstrap\"\nat = \"1s\"\nchange = \"start\"", 7, "event.1", "has to be there before"),
        ("node = \"client 0\"\nat = \"1s\"\nchange = \"pause\"", 7, "event.1", "client 0 is not there by then"),
        ("node = \"seed 0\"\nat = \"1s\"\nchange = \"resume\"", 7, "event.1", "seed 0 is running by then"),
        ("node = \"client 1\"\nat = \"1s\"\nchange = \"stop\"", 3, "event", "takes every client away for good"),
    ];
    for (second, line, key, words) in cases {
        let error = parse(&format!("{before}[[event]]\n{second}")).expect_err(second);
        assert_eq!((error.line, error.key.as_deref()), (Some(line), Some(key)), "{second:?}: {error}");
        assert!(error.cause.contains(words), "{second:?}: {error}");
    }
    let start = |node: &str| format!("[[event]]\nnode = {node}\nat = \"1s\"\nchange = \"start\"\n");
    let error = parse(&format!("[clients]\ncount = 2\n{}", start("[\"client 0\", \"client 1\"]"))).unwrap_err();
    assert!(error.cause.contains("starts every client") && error.line == Some(3), "{error}");
    let error = parse(&format!("[clients]\nfirst_peers = [\"seed 0\"]\n{}", start("\"seed 0\""))).unwrap_err();
    assert!(error.cause.contains("has seed 0, which an event starts later") && error.line == Some(2), "{error}");
    let error = parse(&start("\"seed 0\"").repeat(1001)).unwrap_err();
    assert!(error.cause.contains("1000 are the most") && error.line == Some(1), "{error}");
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
                Ok(file) => assert!(file.cases.iter().all(|(_, scenario)| scenario.check().is_ok()), "{text}"),
                Err(error) => assert!(!error.cause.is_empty() && error.line.is_some(), "{error}\n{text}"),
            }
        }
    }
}
