//! Fetched files are equal to the published files. The processes know only the address of the bootstrap node.

use std::process::Command;

use serde_json::Value;

use super::process::Process;
use super::sandbox::names;
use super::test_network::{Provider, TestNetwork, assert_same, document};

const LARGE: usize = 64 << 20;
const SMALL_FILES: usize = 1000;

#[test]
fn large_small_and_empty_files_are_fetched_from_three_providers() {
    let network = TestNetwork::new();
    network.sandbox.file("large", LARGE);
    network.sandbox.file("empty", 0);
    for number in 0..SMALL_FILES {
        network.sandbox.file(&format!("files/{}/{number}", number % 10), 17 * number + 1);
    }
    let release = network.publish("one", "--artifact rootfs=large --artifact file=empty --dir files");
    // A provider announces three DHT keys for the name, one for the manifest, and one for each of the files.
    let keys = 3 + 1 + 2 + SMALL_FILES;

    let mut one = Provider::start(network.provider("one"));
    assert_eq!(one.announced(), keys);
    // Two clients fetch the release at the same time. Then a provider is started on the store of each client, so that
    // three providers serve the release.
    let [first, second] = both(network.client_fetch("two"), network.fetch("three"));
    check(&network, "two", &release, &first, &[&one]);
    check(&network, "three", &release, &second, &[&one]);
    let mut two = Provider::start(network.provider("two"));
    let mut three = Provider::start(network.provider("three"));
    assert_eq!((two.announced(), three.announced()), (keys, keys));

    let [first, second] = both(network.fetch("client"), network.client_fetch("small-client"));
    check(&network, "client", &release, &first, &[&one, &two, &three]);
    check(&network, "small-client", &release, &second, &[&one, &two, &three]);
}

/// Runs two commands at the same time. Both must succeed and print JSON.
fn both(one: Command, other: Command) -> [Value; 2] {
    [one, other].map(|mut command| Process::start(&mut command)).map(document)
}

/// Checks that the report is about this release and these providers, and that every fetched file is equal to the
/// published file.
#[track_caller]
fn check(network: &TestNetwork, store: &str, release: &Value, report: &Value, providers: &[&Provider]) {
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
        assert_same(&network.fetched(store, name), &network.sandbox.path(&source));
    }
    let kept = names(&network.sandbox.path(&format!("{store}/artifacts")));
    assert!(kept.iter().all(|name| !name.ends_with(".part") && !name.ends_with(".have")), "{kept:?}");
    assert!(names(&network.sandbox.path(&format!("{store}/tmp"))).is_empty());
}
