//! What is published is what is fetched, by processes that know only a bootstrap address.

use std::process::Command;

use serde_json::Value;

use super::bench::names;
use super::process::Process;
use super::setting::{Provider, Setting, assert_same, document};

const LARGE: usize = 64 << 20;
const SMALL_FILES: usize = 1000;

#[test]
fn a_large_file_a_thousand_small_ones_and_an_empty_one_come_from_three_providers() {
    let setting = Setting::new();
    setting.bench.file("large", LARGE);
    setting.bench.file("empty", 0);
    for number in 0..SMALL_FILES {
        setting.bench.file(&format!("files/{}/{number}", number % 10), 17 * number + 1);
    }
    let release = setting.publish("one", "--artifact rootfs=large --artifact file=empty --dir files");
    // Three of the name, one of the manifest.
    let keys = 3 + 1 + 2 + SMALL_FILES;

    let mut one = Provider::start(setting.provider("one"));
    assert_eq!(one.announced(), keys);
    // Mirrors: what they fetch they serve, to each other too, and afterwards under the name.
    let [first, second] = both(setting.client_fetch("two"), setting.fetch("three"));
    check(&setting, "two", &release, &first, &[&one]);
    check(&setting, "three", &release, &second, &[&one]);
    let mut two = Provider::start(setting.provider("two"));
    let mut three = Provider::start(setting.provider("three"));
    assert_eq!((two.announced(), three.announced()), (keys, keys));

    let [first, second] = both(setting.fetch("client"), setting.client_fetch("small-client"));
    check(&setting, "client", &release, &first, &[&one, &two, &three]);
    check(&setting, "small-client", &release, &second, &[&one, &two, &three]);
}

/// Runs two commands at the same time; both must succeed and print JSON.
fn both(one: Command, other: Command) -> [Value; 2] {
    [one, other].map(|mut command| Process::start(&mut command)).map(document)
}

/// The report is about this release and these providers, and every file is what was published.
#[track_caller]
fn check(setting: &Setting, store: &str, release: &Value, report: &Value, providers: &[&Provider]) {
    assert_eq!(report["manifest"], release["manifest"]);
    assert_eq!((&report["bytes"], &report["resumed_bytes"]), (&release["imported_bytes"], &0.into()));
    for provider in providers {
        let peers = report["peers"].as_array().unwrap();
        let used = peers.iter().find(|peer| peer["peer"] == *provider.peer).unwrap_or_else(|| panic!("{report:#}"));
        assert_eq!(used["verdict"], "good", "{used}");
        assert!(used["bytes"].as_u64() > Some(0), "{used}");
    }
    let published = release["artifacts"].as_array().unwrap();
    assert_eq!(published.len(), SMALL_FILES + 2);
    for artifact in published {
        let name = artifact["filename"].as_str().unwrap();
        let source = if matches!(name, "large" | "empty") { name.to_owned() } else { format!("files/{name}") };
        assert_same(&setting.fetched(store, name), &setting.bench.path(&source));
    }
    let kept = names(&setting.bench.path(&format!("{store}/artifacts")));
    assert!(kept.iter().all(|name| !name.ends_with(".part") && !name.ends_with(".have")), "{kept:?}");
    assert!(names(&setting.bench.path(&format!("{store}/tmp"))).is_empty());
}
