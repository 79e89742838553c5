//! Other commands can use a store while a provider runs on it.

use super::process::Process;
use super::test_network::{NAME, Provider, TestNetwork, allocated, assert_same, cid, fails, json, run};

const RESOLVE: &str = "resolve stable/x86_64 --root root.cbor --json";

#[test]
fn a_running_provider_announces_a_release_published_in_its_store() {
    let network = TestNetwork::new();
    network.sandbox.file("old", 400_000);
    network.sandbox.file("new", 900_000);
    network.publish("store", "--artifact kernel=old");
    let mut provider = network.provide("store");
    assert_eq!(json(network.phase(RESOLVE))["content"]["version"], 1);

    let release = network.publish("store", "--artifact kernel=old --artifact rootfs=new");
    assert_eq!(release["version"], 2);
    // The second release has six DHT keys: three of the name, one of the manifest, two of the artifacts.
    while provider.announced() < 6 {}
    let found = json(network.phase(RESOLVE));
    assert_eq!((&found["content"]["version"], &found["manifest"]), (&2.into(), &release["manifest"]));
    assert_eq!(json(network.fetch("client"))["version"], 2);
    assert_same(&network.fetched("client", "new"), &network.sandbox.path("new"));
}

#[test]
fn a_running_provider_serves_artifacts_fetched_into_its_store() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 3_000_000);
    network.publish("origin", "--artifact rootfs=image");
    let origin = network.provide("origin");
    let mut mirror = Provider::start(network.provider("mirror"));
    json(network.fetch("mirror"));
    assert_eq!(mirror.announced(), 5);

    // From here on, the mirror is the only provider.
    assert_eq!(origin.process.stop().code, 0);
    let report = json(network.client_fetch("client"));
    let peers: Vec<_> = report["peers"].as_array().unwrap().iter().map(|peer| peer["peer"].clone()).collect();
    assert_eq!(peers, [mirror.peer.as_str()]);
    assert_same(&network.fetched("client", "image"), &network.sandbox.path("image"));
}

#[test]
fn the_error_for_a_second_provider_names_the_lock_file_and_its_holder() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    network.publish("store", "--artifact rootfs=image");
    let first = network.provide("store");
    let lock = network.sandbox.path("store/provider.lock").display().to_string();
    let holder = format!("{}", first.process.pid());
    let second = || {
        let mut command = network.provider("store");
        command.arg("--json");
        command
    };
    fails(second(), 7, &[&lock, &holder]);
    assert_eq!(json(network.phase(RESOLVE))["content"]["version"], 1, "the first provider has stopped serving");
    // The lock is released when the process that holds it ends, even if that process was killed.
    first.process.kill();
    let mut third = Provider::start(network.provider("store"));
    assert_eq!(third.announced(), 5);
}

#[test]
fn a_port_in_use_is_a_network_error_that_names_the_address() {
    let network = TestNetwork::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    for words in ["", "--json"] {
        let mut command = network.provider("store");
        command.args(["--listen", &address]).args(words.split_whitespace());
        let run = run(command);
        assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(&address) && run.stderr.contains("in use"), "{}", run.stderr);
        assert_eq!(run.stdout, "", "the provider printed that it serves");
    }
    // The provider that could not listen has released the store, so another provider can use the store.
    Provider::start(network.provider("store"));
    let mut command = network.fetch("client");
    command.args(["--listen", &address]);
    fails(command, 5, &[&address]);
}

#[test]
fn a_provider_that_is_stopped_withdraws_its_announcements() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    let release = network.publish("store", "--artifact rootfs=image");
    let manifest = release["manifest"].as_str().unwrap();
    let provider = network.provide("store");
    for key in [NAME, manifest] {
        let found = json(network.phase(&format!("providers {key} --json")));
        assert_eq!((&found[0]["peer"], &found[0]["reachable"]), (&provider.peer.as_str().into(), &true.into()));
    }
    let end = provider.process.stop();
    assert_eq!((end.code, end.stderr.as_str()), (0, ""));
    let artifact = release["artifacts"][0]["cid"].as_str().unwrap();
    for key in [NAME, manifest, artifact] {
        fails(network.phase(&format!("providers {key} --json")), 4, &[key]);
    }
    fails(network.phase(RESOLVE), 4, &[NAME]);
    // A provider can be started again on the same store.
    let _provider = network.provide("store");
    assert_eq!(json(network.phase(RESOLVE))["content"]["version"], 1);
}

#[test]
fn an_interrupted_fetch_reports_the_interruption_and_keeps_its_chunks() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 16 << 20);
    network.sandbox.file("other", 1 << 20);
    let release = network.publish("store", "--artifact rootfs=image --artifact dtb=other");
    let [image, other] = ["image", "other"].map(|file| cid(&release, file));
    // The provider lacks the artifact `other`, so that even a fast fetch cannot end before it is interrupted.
    let at = network.sandbox.path(&format!("store/artifacts/{other}"));
    let aside = network.sandbox.path("aside");
    std::fs::rename(&at, &aside).unwrap();
    let _provider = network.provide("store");
    let whole = network.sandbox.path(&format!("client/artifacts/{image}"));
    let part = whole.with_extension("part");
    let mut fetch = Process::start(&mut network.fetch("client"));
    fetch.until("the first bytes", || allocated(&part) >= 4 << 20 || whole.exists());
    let end = fetch.stop();
    std::fs::rename(&aside, &at).unwrap();
    assert_eq!(end.code, 130, "{}{}", end.stdout, end.stderr);
    assert!(end.stderr.contains("interrupted"), "{}", end.stderr);
    let report = json(network.fetch("client"));
    assert!(report["resumed_bytes"].as_u64() >= Some(2 << 20), "{report:#}");
    assert_same(&network.fetched("client", "image"), &network.sandbox.path("image"));
}
