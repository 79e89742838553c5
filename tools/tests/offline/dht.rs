//! A malformed query or announcement is refused before the node connects to any peer.

use super::sandbox::Sandbox;

/// The option that names a bootstrap peer, at an address where no process listens.
const NO_PEER: &str = "--bootstrap /ip4/127.0.0.1/tcp/1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
const KEY_ID: &str = "ff87a0b0a3c7c0ce827e9cada5ff79e75a44a0633bfcb5b50f99307ddb26b337";

#[test]
fn the_help_of_every_command_explains_its_options_and_exit_codes() {
    let sandbox = Sandbox::new();
    for (words, parts) in [
        ("dht", &["get", "put", "providers", "closest", "peers", "ping", "stats", "contact", "authority"][..]),
        ("dht get", &["--root", "record:<key id>/<label>", "authority:<key id>", "bafyr4i"]),
        ("dht put", &["--label", "--lifetime", "4 KiB"]),
        ("dht providers", &["stable/x86_64"]),
        ("dht closest", &["KEY|PEER"]),
        ("dht peers", &["--wait", "ucket 255"]),
        ("dht ping", &["/ip4/127.0.0.1/tcp/4001", "/p2p/12D3KooW"]),
        ("dht stats", &["sum(i^2) / sum(i*d_i) - 1", "E. Sohl"]),
        ("dht contact", &["--no-connect"]),
        ("dht authority", &["trust root"]),
        ("advertise", &["name", "pointer", "authority"]),
        ("advertise name", &["--once", "--url", "SIGTERM"]),
        ("advertise pointer", &["--root"]),
        ("advertise authority", &["--provider"]),
        ("peers", &["--watch", "--of", "identified"]),
    ] {
        let help = sandbox.ok(&format!("{words} --help"));
        let is_group = matches!(words, "dht" | "advertise");
        for part in parts.iter().copied().chain((!is_group).then_some("Exit codes")) {
            assert!(help.contains(part), "phase {words} --help: {part:?} is not in {help}");
        }
    }
}

#[test]
fn the_error_for_a_malformed_key_lists_the_forms_of_keys() {
    let sandbox = Sandbox::new();
    for key in ["stable", "contact:0", "record:ff/a", "stable/../x"] {
        for command in ["get", "providers", "closest"] {
            sandbox.fails(&format!("dht {command} {key} {NO_PEER}"), 2, &[key, "authority:<key id>"]);
        }
    }
    sandbox.fails(&format!("dht get contact:x {NO_PEER}"), 2, &["not a peer id"]);
    let reserved = format!("record:{KEY_ID}/manifest");
    sandbox.fails(&format!("dht get {reserved} {NO_PEER}"), 2, &["the label of a record cannot be manifest"]);
    sandbox.fails(&format!("dht authority ff {NO_PEER}"), 2, &["ff"]);
    sandbox.fails(&format!("dht contact stable {NO_PEER}"), 2, &["\"stable\" is not a peer id"]);
    sandbox.fails("dht ping /ip4/127.0.0.1/tcp/1/p2p/12D3KooWGarbage", 2, &["\"12D3KooWGarbage\" is not a peer id"]);
    sandbox.fails("dht peers --wait -1s", 2, &["\"-1s\" is not a time"]);
    sandbox.fails(&format!("dht ping localhost:1 {NO_PEER}"), 2, &["localhost:1"]);
    // If a command does not support the kind of a DHT key, the hint names the command that does.
    let cid = "bafyr4ia5k3xg2oen73k45y4lutdtr4neffg6zxqyguxraid65h5fqs6agm";
    sandbox.fails(&format!("dht get {cid} {NO_PEER}"), 2, &["no values under a CID", "phase dht providers"]);
    sandbox.fails(&format!("dht providers authority:{KEY_ID} {NO_PEER}"), 2, &["no providers", "phase dht get"]);
}

#[test]
fn a_query_without_the_dht_or_without_peers_is_a_usage_error() {
    let sandbox = Sandbox::new();
    for command in ["get stable/x86_64", "closest stable/x86_64", "peers", "stats"] {
        sandbox.fails(&format!("dht {command} {NO_PEER} --no-dht"), 2, &["the DHT is switched off"]);
        sandbox.fails(&format!("dht {command}"), 2, &["no peer is known"]);
    }
    let peer = "--peer /ip4/127.0.0.1/tcp/1";
    sandbox.fails(&format!("dht stats {peer}"), 2, &["--peer switches the DHT off: use --bootstrap instead"]);
    sandbox.fails("peers", 2, &["no peer is known"]);
    sandbox.fails("peers --of https://127.0.0.1:1", 2, &["https"]);
    sandbox.fails("peers --of http://127.0.0.1:1", 5, &["http://127.0.0.1:1/peers"]);
}

#[test]
fn a_record_that_cannot_be_signed_is_not_announced() {
    let sandbox = Sandbox::with_root();
    sandbox.ok("key new other.key");
    let name = "advertise name stable/x86_64 --version 1 --once";
    sandbox.fails(&format!("{name} --key a.key {NO_PEER}"), 2, &["--manifest"]);
    sandbox.fails(&format!("{name} --key missing.key --url http://a {NO_PEER}"), 3, &["missing.key"]);
    sandbox.fails(&format!("{name} --key a.key --url ftp://a {NO_PEER}"), 3, &["http or https"]);
    sandbox.fails(&format!("{name} --key a.key --url http://a --lifetime 0s {NO_PEER}"), 2, &["longer than zero"]);
    let untrusted = format!("{name} --key other.key --url http://a --root root.cbor {NO_PEER}");
    sandbox.fails(&untrusted, 6, &["0 of 1 required signatures"]);
    sandbox.fails(&format!("advertise authority --key a.key {NO_PEER}"), 2, &["--name"]);
    let authority = "advertise authority --key a.key --name stable/x86_64";
    sandbox.fails(&format!("{authority} --provider example.org {NO_PEER}"), 2, &["example.org"]);
    sandbox.fails(&format!("advertise pointer root.cbor {NO_PEER}"), 3, &["root.cbor"]);
    sandbox.fails(&format!("advertise pointer missing {NO_PEER}"), 3, &["missing"]);
}

#[test]
fn a_value_that_no_node_would_store_is_not_put() {
    let sandbox = Sandbox::with_root();
    sandbox.file("large", 4097);
    let put = "dht put --key a.key";
    sandbox.fails(&format!("{put} --label motd --file large {NO_PEER}"), 3, &["4097 bytes"]);
    sandbox.fails(&format!("{put} --label manifest --value x {NO_PEER}"), 3, &["label", "cannot be manifest"]);
    sandbox.fails(&format!("{put} --label A --value x {NO_PEER}"), 2, &["A"]);
    sandbox.fails(&format!("{put} --label motd {NO_PEER}"), 2, &["--value"]);
    sandbox.fails(&format!("{put} --label motd --value x --file large {NO_PEER}"), 2, &["cannot be used with"]);
}
