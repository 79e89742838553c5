//! What one process puts into the DHT another one finds, and is told whether to believe it.

use std::net::TcpListener;

use serde_json::Value;

use super::bench::Bench;
use super::process::until;
use super::setting::{NAME, Provider, Setting, fails, json, run};

/// The id of a key in the setting's folder.
fn key_id(bench: &Bench, file: &str) -> String {
    bench.json(&format!("key show {file}"))["key_id"].as_str().unwrap().to_owned()
}

/// The peer ids in a list.
fn peers(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|node| node["peer"].as_str().unwrap()).collect()
}

fn peer_of(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

/// A bootstrap node and some more.
fn with_servers(count: usize) -> (Setting, Vec<Provider>) {
    let setting = Setting::new();
    let providers = (0..count).map(|n| Provider::start(setting.provider(&format!("store{n}")))).collect();
    (setting, providers)
}

#[test]
fn a_value_that_was_put_is_got_and_a_newer_one_takes_its_place() {
    let setting = Setting::new();
    let key = format!("record:{}/motd", key_id(&setting.bench, "a.key"));
    let asked = peer_of(setting.address());
    fails(setting.phase(&format!("dht get {key} --json")), 4, &["holds nothing", &key, "1 answered", asked]);

    let put = "dht put --key a.key --label motd --json";
    let told = json(setting.phase(&format!("{put} --value hello --version 1")));
    assert_eq!((&told["key"], &told["acknowledged_by"][0]), (&key.as_str().into(), &asked.into()));
    let newest = |found: &Value| {
        let value = &found["values"][0];
        assert_eq!((&value["verified"], &value["holders"][0]), (&true.into(), &asked.into()), "{found:#}");
        (value["content"]["text"].clone(), value["content"]["version"].clone())
    };
    let get = || json(setting.phase(&format!("dht get {key} --json")));
    assert_eq!(newest(&get()), ("hello".into(), 1.into()));
    json(setting.phase(&format!("{put} --value again --version 2")));
    assert_eq!(newest(&get()), ("again".into(), 2.into()));
    let text = run(setting.phase(&format!("dht get {key}"))).stdout;
    assert!(text.contains("verified") && text.contains("again") && text.contains(asked), "{text}");
}

#[test]
fn a_published_name_is_verified_with_the_right_root_alone() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    let release = setting.publish("store", "--artifact rootfs=image");
    let provider = setting.provide("store");
    setting.bench.ok("key new other.key");
    setting.bench.ok("root new --channel stable --key other.key -o other.cbor");

    let found = json(setting.phase(&format!("dht get {NAME} --root root.cbor --json")));
    let value = &found["values"][0];
    assert_eq!((&value["verified"], &value["content"]["manifest"]), (&true.into(), &release["manifest"]));
    assert_eq!(value["keys"].as_array().unwrap().len(), 3, "it is not under every key of the name: {value:#}");
    let found = json(setting.phase(&format!("dht get {NAME} --json")));
    assert_eq!(found["values"][0]["verified"], Value::Null);
    let text = run(setting.phase(&format!("dht get {NAME}"))).stdout;
    assert!(text.contains("not verified: no --root"), "{text}");
    let wrong = setting.phase(&format!("dht get {NAME} --root other.cbor --json"));
    fails(wrong, 6, &["does not verify", "0 of 1 required signatures", peer_of(setting.address())]);

    for command in ["dht providers", "providers"] {
        let found = json(setting.phase(&format!("{command} {NAME} --json")));
        assert_eq!((&found[0]["peer"], &found[0]["reachable"]), (&provider.peer.as_str().into(), &true.into()));
        let address = provider.address.split("/p2p/").next().unwrap();
        assert_eq!(found[0]["addresses"][0], address, "{found:#}");
    }
    let nobody = setting.phase("dht providers edge/x86_64 --json");
    fails(nobody, 4, &["no provider of edge/x86_64", "answered", &provider.peer]);
}

#[test]
fn the_closest_nodes_come_in_the_order_of_their_distance() {
    let (setting, others) = with_servers(3);
    let mut all: Vec<_> = others.iter().map(|provider| provider.peer.as_str()).collect();
    all.push(peer_of(setting.address()));
    all.sort_unstable();
    for target in [NAME, all[0], all[3]] {
        let mut found = Value::Null;
        // Nodes are known to the first one some time after they have begun to listen.
        until("all nodes to be known", || {
            found = json(setting.phase(&format!("dht closest {target} --json")));
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

    let table = json(setting.phase("dht peers --wait 1s --json"));
    assert!(peers(&table).contains(&peer_of(setting.address())), "{table:#}");
    assert!(table.as_array().unwrap().iter().all(|peer| peer["bucket"].as_u64() <= Some(255)), "{table:#}");
    let stats = json(setting.phase("dht stats --json"));
    assert_eq!((&stats["network"]["nodes"], &stats["network"]["is_estimate"]), (&4.0.into(), &false.into()));
    assert!(stats["lookup"]["requests"].as_u64() >= Some(1) && stats["node"]["is_server"] == false, "{stats:#}");
}

#[test]
fn a_peer_is_pinged_by_address_and_by_id_and_a_dead_address_is_named() {
    let (setting, others) = with_servers(1);
    let (other, address) = (&others[0].peer, setting.address());
    let nobody_said = address.split("/p2p/").next().unwrap();
    // The first node knows it some time after it has begun to listen.
    until("the other node to be known", || run(setting.phase(&format!("dht ping {other}"))).code == 0);
    let found = json(setting.phase(&format!("dht ping {address} {nobody_said} {other} --json")));
    assert_eq!(peers(&found), [peer_of(address), peer_of(address), other]);
    for answer in found.as_array().unwrap() {
        let (time, agent) = (&answer["round_trip_seconds"], answer["agent"].as_str());
        assert!(time.as_f64() > Some(0.0) && agent.is_some_and(|agent| agent.starts_with("phase")), "{answer:#}");
    }

    // A port that nobody has any more.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("/ip4/127.0.0.1/tcp/{dead}/p2p/{other}");
    fails(setting.bench.command(&format!("dht ping {dead} --json")), 5, &[&dead, "refused"]);
    // Those that do answer are shown all the same, and somebody else at an address is not who was meant.
    let posing = format!("{nobody_said}/p2p/{other}");
    let mixed = run(setting.bench.command(&format!("dht ping {address} {posing}")));
    assert_eq!(mixed.code, 5, "{}", mixed.stderr);
    assert!(mixed.stdout.contains(" ms") && mixed.stderr.contains(&posing), "{}{}", mixed.stdout, mixed.stderr);
}
