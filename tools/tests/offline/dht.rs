//! What is wrong with a question to the DHT, or with what is to be announced, is said before anybody is met.

use super::support::Bench;

/// A first peer that nobody is.
const NOBODY: &str = "--bootstrap /ip4/127.0.0.1/tcp/1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
const KEY_ID: &str = "ff87a0b0a3c7c0ce827e9cada5ff79e75a44a0633bfcb5b50f99307ddb26b337";

#[test]
fn every_command_explains_itself_and_its_exit_codes() {
    let bench = Bench::new();
    for (words, parts) in [
        ("dht", &["get", "put", "providers", "closest", "peers", "ping", "stats", "contact", "authority"][..]),
        ("dht get", &["--root", "record:<key id>/<label>", "authority:<key id>", "bafyr4i"]),
        ("dht put", &["--label", "--lifetime", "4 KiB"]),
        ("dht providers", &["stable/x86_64"]),
        ("dht closest", &["KEY|PEER"]),
        ("dht peers", &["--wait", "ucket 255"]),
        ("dht ping", &["/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW"]),
        ("dht stats", &["sum(i^2) / sum(i*d_i) - 1", "E. Sohl"]),
        ("dht contact", &["--no-connect"]),
        ("dht authority", &["trust root"]),
        ("advertise", &["name", "pointer", "authority"]),
        ("advertise name", &["--once", "--url", "SIGTERM"]),
        ("advertise pointer", &["--root"]),
        ("advertise authority", &["--provider"]),
        ("peers", &["--watch", "--of", "identified"]),
    ] {
        let help = bench.ok(&format!("{words} --help"));
        let is_group = matches!(words, "dht" | "advertise");
        for part in parts.iter().copied().chain((!is_group).then_some("Exit codes")) {
            assert!(help.contains(part), "phase {words} --help: {part:?} is not in {help}");
        }
    }
}

#[test]
fn a_key_that_is_none_is_told_the_forms() {
    let bench = Bench::new();
    for key in ["stable", "contact:0", "record:ff/a", "stable/../x"] {
        for command in ["get", "providers", "closest"] {
            bench.fails(&format!("dht {command} {key} {NOBODY}"), 2, &[key, "authority:<key id>"]);
        }
    }
    bench.fails(&format!("dht get contact:x {NOBODY}"), 2, &["not a peer id"]);
    let reserved = format!("record:{KEY_ID}/manifest");
    bench.fails(&format!("dht get {reserved} {NOBODY}"), 2, &["no record can be labelled manifest"]);
    bench.fails(&format!("dht authority ff {NOBODY}"), 2, &["ff"]);
    bench.fails(&format!("dht contact stable {NOBODY}"), 2, &["stable"]);
    bench.fails(&format!("dht ping localhost:1 {NOBODY}"), 2, &["localhost:1"]);
    // A key of the other kind is shown the other command.
    let cid = "bafyr4ia5k3xg2oen73k45y4lutdtr4neffg6zxqyguxraid65h5fqs6agm";
    bench.fails(&format!("dht get {cid} {NOBODY}"), 2, &["no values under a CID", "phase dht providers"]);
    bench.fails(&format!("dht providers authority:{KEY_ID} {NOBODY}"), 2, &["no providers", "phase dht get"]);
}

#[test]
fn without_a_dht_there_is_nobody_to_ask() {
    let bench = Bench::new();
    for command in ["get stable/x86_64", "closest stable/x86_64", "peers", "stats"] {
        bench.fails(&format!("dht {command} {NOBODY} --no-dht"), 2, &["the DHT is switched off"]);
        bench.fails(&format!("dht {command}"), 2, &["no peer is known"]);
    }
    bench.fails("peers", 2, &["no peer is known"]);
    bench.fails("peers --of https://127.0.0.1:1", 2, &["https"]);
    bench.fails("peers --of http://127.0.0.1:1", 5, &["http://127.0.0.1:1/peers"]);
}

#[test]
fn what_cannot_be_signed_is_not_announced() {
    let bench = Bench::with_root();
    bench.ok("key new stranger.key");
    let name = "advertise name stable/x86_64 --version 1 --once";
    bench.fails(&format!("{name} --key a.key {NOBODY}"), 2, &["--manifest"]);
    bench.fails(&format!("{name} --key missing.key --url http://a {NOBODY}"), 3, &["missing.key"]);
    bench.fails(&format!("{name} --key a.key --url ftp://a {NOBODY}"), 3, &["http or https"]);
    bench.fails(&format!("{name} --key a.key --url http://a --lifetime 0s {NOBODY}"), 2, &["longer than nothing"]);
    let strange = format!("{name} --key stranger.key --url http://a --root root.cbor {NOBODY}");
    bench.fails(&strange, 6, &["0 of 1 required signatures"]);
    bench.fails(&format!("advertise authority --key a.key {NOBODY}"), 2, &["--name"]);
    let authority = "advertise authority --key a.key --name stable/x86_64";
    bench.fails(&format!("{authority} --provider example.org {NOBODY}"), 2, &["example.org"]);
    bench.fails(&format!("advertise pointer root.cbor {NOBODY}"), 3, &["root.cbor"]);
    bench.fails(&format!("advertise pointer missing {NOBODY}"), 3, &["missing"]);
}

#[test]
fn what_no_node_would_keep_is_not_put() {
    let bench = Bench::with_root();
    bench.file("large", 4097);
    let put = "dht put --key a.key";
    bench.fails(&format!("{put} --label motd --file large {NOBODY}"), 3, &["4097 bytes"]);
    bench.fails(&format!("{put} --label manifest --value x {NOBODY}"), 3, &["labelled manifest"]);
    bench.fails(&format!("{put} --label A --value x {NOBODY}"), 2, &["A"]);
    bench.fails(&format!("{put} --label motd {NOBODY}"), 2, &["--value"]);
    bench.fails(&format!("{put} --label motd --value x --file large {NOBODY}"), 2, &["cannot be used with"]);
}
