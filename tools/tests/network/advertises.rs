//! `phase advertise` announces content that is hosted elsewhere, until a signal stops it. It needs no store.

use serde_json::Value;

use super::process::Process;
use super::test_network::{NAME, TestNetwork, fails, json};

const ADVERTISE: &str = "advertise name stable/x86_64 --key a.key --root root.cbor";
const URL: &str = "https://example.org/stable";

#[test]
fn a_name_with_urls_and_no_manifest_is_found() {
    let network = TestNetwork::new();
    let printed = json(network.phase(&format!("{ADVERTISE} --version 3 --url {URL} --once --json")));
    assert_eq!((&printed["announced"], printed["acknowledged_by"].as_array().unwrap().len()), (&NAME.into(), 1));
    let found = json(network.phase(&format!("dht get {NAME} --root root.cbor --json")));
    let content = &found["values"][0]["content"];
    assert_eq!((&content["urls"][0], &content["version"]), (&URL.into(), &3.into()));
    assert_eq!((&content["manifest"], &found["values"][0]["verified"]), (&Value::Null, &true.into()));
    assert_eq!(found["values"][0]["keys"].as_array().unwrap().len(), 3, "{found:#}");
}

#[test]
fn a_record_is_announced_until_a_signal_stops_the_advertiser() {
    let network = TestNetwork::new();
    let mut advertiser = Process::start(&mut network.phase(&format!("{ADVERTISE} --version 1 --url {URL}")));
    let line = advertiser.line(|line| line.starts_with("announced ").then(|| line.to_owned()));
    assert!(line.contains(NAME) && line.contains("1 node stored it"), "{line}");
    assert!(advertiser.is_running());
    let end = advertiser.stop();
    assert_eq!(end.code, 0, "{}", end.stderr);
}

#[test]
fn a_record_with_a_short_lifetime_is_signed_again_before_it_expires() {
    let network = TestNetwork::new();
    let words = format!("{ADVERTISE} --version 1 --url {URL} --lifetime 10s");
    let mut advertiser = Process::start(&mut network.phase(&words));
    for _ in 0..2 {
        advertiser.line(|line| line.starts_with("announced ").then_some(()));
    }
    let found = json(network.phase(&format!("dht get {NAME} --root root.cbor --json")));
    assert_eq!(found["values"][0]["content"]["version"], 1);
    assert_eq!(advertiser.stop().code, 0);
}

#[test]
fn the_names_that_a_publisher_signs_for_are_found_by_its_key_id() {
    let network = TestNetwork::new();
    let key = network.sandbox.json("key show a.key")["key_id"].as_str().unwrap().to_owned();
    let find = || network.phase(&format!("dht authority {key} --json"));
    fails(find(), 4, &[&format!("authority:{key}"), "1 answered"]);
    let address = network.address();
    let names = "--name stable/x86_64 --name edge/x86_64";
    json(network.phase(&format!("advertise authority --key a.key {names} --provider {address} --once --json")));
    let found = json(find());
    assert_eq!(found["names"], serde_json::json!(["stable/x86_64", "edge/x86_64"]));
    assert_eq!((&found["providers"][0], &found["holders"]), (&address.into(), &1.into()));
}

#[test]
fn a_pointer_record_from_a_file_is_announced_unchanged() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    let release = network.publish("store", "--artifact rootfs=image");
    json(network.phase("advertise pointer store/refs/stable/x86_64 --root root.cbor --once --json"));
    let found = json(network.phase(&format!("dht get {NAME} --root root.cbor --json")));
    assert_eq!(found["values"][0]["content"]["manifest"], release["manifest"]);
}
