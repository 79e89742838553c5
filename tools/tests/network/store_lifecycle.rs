//! A store is repaired from the network, and pruned while a provider runs on it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::process::until;
use super::test_network::{NAME, TestNetwork, assert_same, cid, fails, json, run};

/// Changes one byte of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn stored(network: &TestNetwork, store: &str, folder: &str, cid: &str) -> PathBuf {
    network.sandbox.path(&format!("{store}/{folder}/{cid}"))
}

fn verify(network: &TestNetwork, store: &str) -> Value {
    let run = network.sandbox.run(&format!("store verify --store {store} --json"));
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn repair_fetches_damaged_artifacts_and_missing_index_blocks_again() {
    let network = TestNetwork::new();
    for (file, len) in [("old", 900_000), ("image", 2_000_000), ("kernel", 500_000)] {
        network.sandbox.file(file, len);
    }
    let old = network.publish("origin", "--artifact rootfs=old --artifact kernel=kernel");
    let first = network.provide("origin");
    json(network.fetch("client"));
    assert_eq!(first.process.stop().code, 0);
    let new = network.publish("origin", "--artifact rootfs=image --artifact kernel=kernel");
    let provider = network.provide("origin");
    assert_eq!(json(network.fetch("client"))["version"], 2);
    // The old release is still in the client's store. One of its artifacts, one of the new release, and the index of the
    // shared artifact are damaged or lost.
    let [image, kernel] = ["image", "kernel"].map(|file| cid(&new, file));
    let old_image = cid(&old, "old");
    damage(&stored(&network, "client", "artifacts", image));
    damage(&stored(&network, "client", "artifacts", old_image));
    std::fs::remove_file(stored(&network, "client", "blocks", kernel)).unwrap();
    assert_eq!(verify(&network, "client")["problems"].as_array().unwrap().len(), 3);

    let repair = "store repair --root root.cbor --store client --give-up-after 20s --json";
    let done = json(network.phase(repair));
    assert_eq!(done["missing"].as_array().unwrap().len(), 0, "{done:#}");
    let mut fetched: Vec<_> = done["fetched"].as_array().unwrap().iter().map(|cid| cid.as_str().unwrap()).collect();
    fetched.sort_unstable();
    let mut expected = vec![image, old_image, kernel];
    expected.sort_unstable();
    assert_eq!(fetched, expected, "{done:#}");
    assert_eq!(done["set_aside"].as_array().unwrap().len(), 2, "{done:#}");
    assert_eq!(verify(&network, "client")["ok"], true);
    assert_same(&stored(&network, "client", "artifacts", image), &network.sandbox.path("image"));
    assert_same(&stored(&network, "client", "artifacts", old_image), &network.sandbox.path("old"));
    let ls = network.sandbox.json("store ls --store client");
    assert_eq!((&ls["releases"][0]["version"], &ls["releases"][0]["current"]), (&2.into(), &true.into()));

    // What no peer has is named.
    damage(&stored(&network, "client", "artifacts", old_image));
    assert_eq!(provider.process.stop().code, 0);
    let repair = "store repair --root root.cbor --store client --give-up-after 1s --json";
    fails(network.phase(repair), 4, &[old_image, "missing"]);
    assert_eq!(network.sandbox.json(&format!("store ls {NAME} --store client"))["artifacts"][0]["state"], "complete");
}

#[test]
fn repair_fetches_a_release_whose_ref_is_damaged() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 300_000);
    let release = network.publish("origin", "--artifact rootfs=image");
    let _provider = network.provide("origin");
    json(network.fetch("client"));
    damage(&network.sandbox.path("client/refs/stable/x86_64"));
    damage(&stored(&network, "client", "blocks", release["manifest"].as_str().unwrap()));
    json(network.phase("store repair --root root.cbor --store client --json"));
    assert_eq!(verify(&network, "client")["ok"], true);
    assert_eq!(network.sandbox.json(&format!("store ls {NAME} --store client"))["current"], true);
}

#[test]
fn a_provider_withdraws_a_release_before_its_files_are_removed() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    let release = network.publish("store", "--artifact rootfs=image");
    let image = cid(&release, "image");
    let provider = network.provide("store");
    assert!(std::fs::read_to_string(network.sandbox.path("store/served")).unwrap().contains(image));
    json(network.phase(&format!("providers {image} --json")));

    let done = network.sandbox.json("store rm stable/x86_64 --store store");
    assert_eq!((&done["releases"][0]["version"], done["announced"].as_array().unwrap().len()), (&1.into(), 0));
    assert!(!stored(&network, "store", "artifacts", image).exists());
    // The command has returned, so no node lists the provider any more.
    for key in [NAME, release["manifest"].as_str().unwrap(), image] {
        fails(network.phase(&format!("providers {key} --json")), 4, &[key]);
    }
    assert_eq!(provider.process.stop().code, 0);
}

#[test]
fn a_removal_says_what_it_waits_for_if_a_provider_does_not_withdraw() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    let release = network.publish("store", "--artifact rootfs=image");
    let image = cid(&release, "image");
    let provider = network.provide("store");
    // The provider is stopped by the system, so that it notices nothing.
    let pid = rustix::process::Pid::from_raw(provider.process.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let error = network.sandbox.run("store rm stable/x86_64 --store store --wait 1s");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(error.code, 7, "{}{}", error.stdout, error.stderr);
    assert!(error.stderr.contains("has not withdrawn") && error.stderr.contains("1s"), "{}", error.stderr);
    assert!(stored(&network, "store", "artifacts", image).exists());
    network.sandbox.ok("store rm stable/x86_64 --store store");
    assert!(!stored(&network, "store", "artifacts", image).exists());
}

#[test]
fn providers_and_clients_remove_old_releases_by_themselves() {
    let network = TestNetwork::new();
    network.sandbox.file("one", 400_000);
    network.sandbox.file("two", 500_000);
    let first = network.publish("store", "--artifact rootfs=one");
    let mut command = network.provider("store");
    command.args(["--keep", "1"]);
    let mut provider = super::test_network::Provider::start(command);
    provider.announced();
    json(network.fetch("client"));
    let one = cid(&first, "one");
    network.publish("store", "--artifact rootfs=two");
    until("the provider to remove the old release", || !stored(&network, "store", "artifacts", one).exists());
    assert_eq!(network.sandbox.json("store ls --store store")["releases"].as_array().unwrap().len(), 1);

    until("the new release", || {
        json(network.phase("resolve stable/x86_64 --root root.cbor --json"))["content"]["version"] == 2
    });
    let mut fetch = network.fetch("client");
    fetch.args(["--keep", "1"]);
    let fetched = run(fetch);
    assert_eq!(fetched.code, 0, "{}", fetched.stderr);
    assert_eq!(network.sandbox.json("store ls --store client")["releases"].as_array().unwrap().len(), 1);
    assert!(!stored(&network, "client", "artifacts", one).exists());
    assert_eq!(verify(&network, "client")["ok"], true);
}
