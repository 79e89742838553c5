//! `phase peers` shows the events of peers, and a table of all peers at the end.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use super::process::{Process, until};
use super::sandbox::Sandbox;
use super::test_network::{Provider, TestNetwork, fails, json, run};

#[test]
fn peers_are_shown_as_they_connect_until_a_signal_arrives() {
    let network = TestNetwork::new();
    let other = Provider::start(network.provider("store"));
    let first = network.address().rsplit('/').next().unwrap().to_owned();
    // Wait until the bootstrap node knows the provider, because the watching node asks the bootstrap node for peers
    // only once.
    until("the other node to be known", || run(network.phase(&format!("dht ping {}", other.peer))).code == 0);
    let mut watcher = Process::start(&mut network.phase("peers --watch --json"));
    let mut missing = vec![first.clone(), other.peer.clone()];
    watcher.line(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        if event["event"] == "identified" {
            assert!(event["agent"].is_string() && event["addresses"][0].is_string(), "{event:#}");
            missing.retain(|peer| event["peer"] != peer.as_str());
        }
        missing.is_empty().then_some(())
    });
    let end = watcher.stop();
    assert_eq!(end.code, 0, "{}", end.stderr);
    let last: Value = serde_json::from_str(end.stdout.lines().last().unwrap()).unwrap();
    let all = last["peers"].as_array().unwrap();
    let known = all.iter().find(|peer| peer["peer"] == first.as_str()).unwrap();
    assert_eq!((&known["state"], &known["source"]), (&"identified".into(), &"bootstrap".into()), "{known:#}");
    assert_eq!((all.len(), &known["dht_server"]), (2, &true.into()), "{known:#}");
}

#[test]
fn a_table_of_peers_is_shown_when_the_time_is_over() {
    let network = TestNetwork::new();
    let shown = run(network.phase("peers --for 10s"));
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let first = network.address().rsplit('/').next().unwrap();
    for part in ["identified", "DHT server", first, "1 peer"] {
        assert!(shown.stdout.contains(part), "{part:?} is not in {}", shown.stdout);
    }
}

#[test]
fn no_reachable_peer_is_a_network_error_that_names_the_address() {
    let network = TestNetwork::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("/ip4/127.0.0.1/tcp/{port}");
    fails(
        network.sandbox.command(&format!("peers --for 1s --json --bootstrap {dead}")),
        5,
        &["no peer answers", &dead],
    );
}

#[test]
fn the_list_of_peers_at_a_url_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    let peer = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
    let body = format!(r#"{{"peers": [{{"peer_id": "{peer}", "addresses": ["/ip4/192.0.2.7/tcp/4001"]}}]}}"#);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let len = stream.read(&mut request).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    let listed = json(Sandbox::new().command(&format!("peers --of http://{host} --json")));
    assert_eq!((&listed[0]["peer"], &listed[0]["address"]), (&peer.into(), &"/ip4/192.0.2.7/tcp/4001".into()));
    assert!(server.join().unwrap().starts_with("GET /peers "));
}
