//! One process puts a value into the DHT. Another process finds the value, and reports whether it verifies.

use std::net::TcpListener;

use serde_json::Value;

use super::process::until;
use super::sandbox::Sandbox;
use super::test_network::{NAME, Provider, TestNetwork, fails, json, run};

/// Returns the key id of the key in a file.
fn key_id(sandbox: &Sandbox, file: &str) -> String {
    sandbox.json(&format!("key show {file}"))["key_id"].as_str().unwrap().to_owned()
}

/// Returns the peer ids in a JSON list of peers.
fn peers(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|node| node["peer"].as_str().unwrap()).collect()
}

/// Returns the peer id at the end of an address.
fn peer_of(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

/// Starts a bootstrap node and `count` providers.
fn with_servers(count: usize) -> (TestNetwork, Vec<Provider>) {
    let network = TestNetwork::new();
    let providers = (0..count).map(|n| Provider::start(network.provider(&format!("store{n}")))).collect();
    (network, providers)
}

#[test]
fn a_value_is_found_after_a_put_and_a_newer_value_replaces_it() {
    let network = TestNetwork::new();
    let key = format!("record:{}/motd", key_id(&network.sandbox, "a.key"));
    let asked = peer_of(network.address());
    fails(network.phase(&format!("dht get {key} --json")), 4, &["stores no value", &key, "1 answered", asked]);

    let put = "dht put --key a.key --label motd --json";
    let printed = json(network.phase(&format!("{put} --value hello --version 1")));
    assert_eq!((&printed["key"], &printed["acknowledged_by"][0]), (&key.as_str().into(), &asked.into()));
    let newest = |found: &Value| {
        let value = &found["values"][0];
        assert_eq!((&value["verified"], &value["holders"][0]), (&true.into(), &asked.into()), "{found:#}");
        (value["content"]["text"].clone(), value["content"]["version"].clone())
    };
    let get = || json(network.phase(&format!("dht get {key} --json")));
    assert_eq!(newest(&get()), ("hello".into(), 1.into()));
    json(network.phase(&format!("{put} --value again --version 2")));
    assert_eq!(newest(&get()), ("again".into(), 2.into()));
    let text = run(network.phase(&format!("dht get {key}"))).stdout;
    assert!(text.contains("verified") && text.contains("again") && text.contains(asked), "{text}");
}

#[test]
fn a_published_name_verifies_only_with_the_root_of_its_publisher() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    let release = network.publish("store", "--artifact rootfs=image");
    let provider = network.provide("store");
    network.sandbox.ok("key new other.key");
    network.sandbox.ok("root new --channel stable --key other.key -o other.cbor");

    let found = json(network.phase(&format!("dht get {NAME} --root root.cbor --json")));
    let value = &found["values"][0];
    assert_eq!((&value["verified"], &value["content"]["manifest"]), (&true.into(), &release["manifest"]));
    assert_eq!(
        value["keys"].as_array().unwrap().len(),
        3,
        "the pointer record is not under every key of the name: {value:#}"
    );
    let found = json(network.phase(&format!("dht get {NAME} --json")));
    assert_eq!(found["values"][0]["verified"], Value::Null);
    let text = run(network.phase(&format!("dht get {NAME}"))).stdout;
    assert!(text.contains("not verified: no --root"), "{text}");
    let wrong = network.phase(&format!("dht get {NAME} --root other.cbor --json"));
    fails(wrong, 6, &["no value under", "verifies", "0 of 1 required signatures", peer_of(network.address())]);

    for command in ["dht providers", "providers"] {
        let found = json(network.phase(&format!("{command} {NAME} --json")));
        assert_eq!((&found[0]["peer"], &found[0]["reachable"]), (&provider.peer.as_str().into(), &true.into()));
        let address = provider.address.split("/p2p/").next().unwrap();
        assert_eq!(found[0]["addresses"][0], address, "{found:#}");
    }
    let unpublished = network.phase("dht providers edge/x86_64 --json");
    fails(unpublished, 4, &["no provider of edge/x86_64", "answered", &provider.peer]);
}

#[test]
fn the_closest_nodes_are_listed_in_the_order_of_their_distance() {
    let (network, others) = with_servers(3);
    let mut all: Vec<_> = others.iter().map(|provider| provider.peer.as_str()).collect();
    all.push(peer_of(network.address()));
    all.sort_unstable();
    for target in [NAME, all[0], all[3]] {
        let mut found = Value::Null;
        // Wait, because the bootstrap node learns of the providers some time after they have begun to listen.
        until("all nodes to be known", || {
            found = json(network.phase(&format!("dht closest {target} --json")));
            found.as_array().unwrap().len() == all.len()
        });
        let distances: Vec<_> = found.as_array().unwrap().iter().map(|n| n["distance"].as_f64().unwrap()).collect();
        assert!(distances.is_sorted(), "{distances:?}");
        assert!(found.as_array().unwrap().iter().all(|node| node["addresses"][0].is_string()), "{found:#}");
        let mut seen = peers(&found);
        if target != NAME {
            assert_eq!((seen[0], &found[0]["distance_bits"]), (target, &0.into()), "a peer is closest to itself");
        }
        seen.sort_unstable();
        assert_eq!(seen, all);
    }

    let table = json(network.phase("dht peers --wait 1s --json"));
    assert!(peers(&table).contains(&peer_of(network.address())), "{table:#}");
    assert!(table.as_array().unwrap().iter().all(|peer| peer["bucket"].as_u64() <= Some(255)), "{table:#}");
    let stats = json(network.phase("dht stats --json"));
    assert_eq!((&stats["network"]["nodes"], &stats["network"]["is_estimate"]), (&4.0.into(), &false.into()));
    assert!(stats["lookup"]["requests"].as_u64() >= Some(1) && stats["node"]["is_server"] == false, "{stats:#}");
}

#[test]
fn a_peer_is_pinged_by_address_or_peer_id_and_an_error_names_it() {
    let (network, others) = with_servers(1);
    let (other, address) = (&others[0].peer, network.address());
    let without_peer_id = address.split("/p2p/").next().unwrap();
    // Wait, because the bootstrap node learns of the provider some time after the provider has begun to listen.
    until("the other node to be known", || run(network.phase(&format!("dht ping {other}"))).code == 0);
    let found = json(network.phase(&format!("dht ping {address} {without_peer_id} {other} --json")));
    assert_eq!(peers(&found), [peer_of(address), peer_of(address), other]);
    for answer in found.as_array().unwrap() {
        let (time, agent) = (&answer["round_trip_seconds"], answer["agent"].as_str());
        assert!(time.as_f64() > Some(0.0) && agent.is_some_and(|agent| agent.starts_with("phase")), "{answer:#}");
    }

    // The listener is dropped at once, so no process listens on its port.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("/ip4/127.0.0.1/tcp/{dead}/p2p/{other}");
    fails(network.sandbox.command(&format!("dht ping {dead} --json")), 5, &[&dead, "refused"]);
    // The peer at the first target is shown, although the second target is an error, because the peer at its address
    // has another peer id.
    let wrong_id = format!("{without_peer_id}/p2p/{other}");
    let mixed = run(network.sandbox.command(&format!("dht ping {address} {wrong_id}")));
    assert_eq!(mixed.code, 5, "{}", mixed.stderr);
    assert!(mixed.stdout.contains(" ms") && mixed.stderr.contains(&wrong_id), "{}{}", mixed.stdout, mixed.stderr);
}
