//! Nodes find the releases of their peers by DNS-SD. Hostile service instances and packets have no effect.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceInfo, TxtProperty};
use phase_node::dns_sd::{DnsSd, DnsSdError, Interfaces, LocalRelease, MAX_ADVERTS, SERVICE_TYPE};
use phase_node::{Advert, Multiaddr, PeerId};
use phase_test_support::netns;
use tokio::sync::mpsc::Receiver;

/// The timeout of each wait. A test fails if a wait takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts DNS-SD for a random peer id.
async fn start() -> (PeerId, DnsSd) {
    let peer = PeerId::random();
    (peer, DnsSd::start(peer, Interfaces::default()).await.unwrap())
}

fn advert(name: &str, version: u64) -> Advert {
    Advert { name: name.parse().unwrap(), version, http_port: None }
}

/// Returns the release that a browser must receive when `peer` announces `advert`.
fn release(peer: PeerId, tcp_port: u16, advert: &Advert) -> LocalRelease {
    let address: Multiaddr = format!("/ip4/{}/tcp/{tcp_port}", netns::ADDRESS).parse().unwrap();
    let Advert { name, version, http_port } = advert.clone();
    LocalRelease { peer, addresses: vec![address], name, version, http_port }
}

async fn next(found: &mut Receiver<LocalRelease>) -> LocalRelease {
    tokio::time::timeout(LIMIT, found.recv()).await.expect("a release is received in time").expect("DNS-SD is running")
}

/// Receives releases until `last`. Returns all of them, including `last`.
async fn receive_until(found: &mut Receiver<LocalRelease>, last: &LocalRelease) -> Vec<LocalRelease> {
    let mut received = vec![next(found).await];
    while received.last() != Some(last) {
        received.push(next(found).await);
    }
    received
}

/// Starts mdns-sd without Phase, like another host on the local network.
fn neighbour() -> ServiceDaemon {
    let daemon = ServiceDaemon::new().unwrap();
    daemon.disable_interface(mdns_sd::IfKind::LoopbackV4).unwrap();
    daemon
}

fn register(daemon: &ServiceDaemon, instance: &str, properties: Vec<TxtProperty>) {
    let host = "neighbour.local.";
    let info = ServiceInfo::new(SERVICE_TYPE, instance, host, netns::ADDRESS.to_string(), 4001, properties).unwrap();
    daemon.register(info).unwrap();
}

#[test]
fn two_nodes_find_all_releases_of_each_other() {
    netns::run("dns_sd::two_nodes_find_all_releases_of_each_other", async {
        let ((alice, mut of_alice), (bob, mut of_bob)) = (start().await, start().await);
        let [plain, with_http] =
            [advert("stable/x86_64", 7), Advert { http_port: Some(8080), ..advert("v1.2/a_b", 0) }];
        let mut found_by_alice = of_alice.browse().await.unwrap();
        of_alice.advertise(4001, &[plain.clone(), with_http.clone()]).await.unwrap();
        let mut found_by_bob = of_bob.browse().await.unwrap();
        let mut received = [next(&mut found_by_bob).await, next(&mut found_by_bob).await];
        received.sort_by_key(|release| release.version);
        assert_eq!(received, [release(alice, 4001, &with_http), release(alice, 4001, &plain)]);

        // Alice's node announced its releases before Bob's node. A node ignores its own announcements, so the first
        // release that Alice's node finds is Bob's.
        of_bob.advertise(4002, std::slice::from_ref(&plain)).await.unwrap();
        assert_eq!(next(&mut found_by_alice).await, release(bob, 4002, &plain));
        of_alice.stop().await;
        assert_eq!(found_by_alice.recv().await, None);
    });
}

#[test]
fn an_update_is_received_and_a_withdrawn_release_is_not() {
    netns::run("dns_sd::an_update_is_received_and_a_withdrawn_release_is_not", async {
        let ((alice, mut of_alice), (_, mut of_bob)) = (start().await, start().await);
        let mut found = of_bob.browse().await.unwrap();
        let [kept, withdrawn] = [advert("stable/x86_64", 7), advert("beta/x86_64", 8)];
        of_alice.advertise(4001, &[kept, withdrawn.clone()]).await.unwrap();
        receive_until(&mut found, &release(alice, 4001, &withdrawn)).await;

        let updated = advert("stable/x86_64", 9);
        of_alice.advertise(4001, std::slice::from_ref(&updated)).await.unwrap();
        receive_until(&mut found, &release(alice, 4001, &updated)).await;

        // An mDNS answer contains all instances of a host. So the newcomer receives all releases of Alice's node before
        // the release of the node `marker`, which announces last.
        let (marker, mut of_marker) = start().await;
        let (_, mut of_newcomer) = start().await;
        let mut found = of_newcomer.browse().await.unwrap();
        let mut received = receive_until(&mut found, &release(alice, 4001, &updated)).await;
        let mark = advert("marker/any", 1);
        of_marker.advertise(1, std::slice::from_ref(&mark)).await.unwrap();
        received.extend(receive_until(&mut found, &release(marker, 1, &mark)).await);
        assert_eq!(received, [release(alice, 4001, &updated), release(marker, 1, &mark)]);

        of_alice.stop().await;
        let (_, mut of_latecomer) = start().await;
        let mut found = of_latecomer.browse().await.unwrap();
        assert_eq!(next(&mut found).await, release(marker, 1, &mark));
    });
}

#[test]
fn a_release_that_is_withdrawn_and_announced_again_is_received_again() {
    netns::run("dns_sd::a_release_that_is_withdrawn_and_announced_again_is_received_again", async {
        let ((alice, mut of_alice), (_, mut of_bob)) = (start().await, start().await);
        let mut found = of_bob.browse().await.unwrap();
        let again = advert("stable/any", 1);
        of_alice.advertise(4001, std::slice::from_ref(&again)).await.unwrap();
        assert_eq!(next(&mut found).await, release(alice, 4001, &again));
        // Each wait is longer than a second. With shorter waits, the browser might miss the withdrawal, or mDNS might
        // suppress the new announcement as a repetition.
        let returns = async {
            loop {
                of_alice.advertise(4001, &[]).await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
                of_alice.advertise(4001, std::slice::from_ref(&again)).await.unwrap();
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        tokio::select! {
            received = next(&mut found) => assert_eq!(received, release(alice, 4001, &again)),
            () = returns => {}
        }
    });
}

#[test]
fn malformed_instances_and_packets_are_ignored() {
    netns::run("dns_sd::malformed_instances_and_packets_are_ignored", async {
        let (honest, mut of_honest) = start().await;
        let (_, mut of_victim) = start().await;
        let mut found = of_victim.browse().await.unwrap();
        let hostile = neighbour();
        let peer = PeerId::random().to_string();
        let good = BTreeMap::from([
            ("channel", b"stable".to_vec()),
            ("arch", b"x86_64".to_vec()),
            ("version", b"1".to_vec()),
            ("peer", peer.clone().into_bytes()),
        ]);
        let wrong: [(&str, Vec<u8>); 6] = [
            ("channel", b"../../etc/passwd".to_vec()),
            ("arch", vec![0xff; 200]),
            ("version", vec![b'9'; 200]),
            ("version", b"-1".to_vec()),
            ("peer", vec![b'1'; 240]),
            ("http_port", b"70000".to_vec()),
        ];
        for (number, (key, value)) in wrong.into_iter().enumerate() {
            let mut properties = good.clone();
            properties.insert(key, value);
            let properties = properties.into_iter().map(TxtProperty::from).collect();
            register(&hostile, &format!("junk {number}"), properties);
        }
        register(&hostile, "", vec![]);
        register(&hostile, "a.b\\.c \u{1f4a5} \0", vec![TxtProperty::from("channel")]);
        let socket = UdpSocket::bind((netns::ADDRESS, 0)).unwrap();
        let mut noise = fastrand::Rng::with_seed(7);
        for len in 0..1400 {
            let mut packet: Vec<u8> = std::iter::repeat_with(|| noise.u8(..)).take(len).collect();
            // Replace the first bytes with the header of a response that contains one question, and three records in
            // every other section.
            for (index, byte) in packet.iter_mut().take(12).enumerate() {
                *byte = [0, 0, 0x84, 0, 0, 1, 0, 3, 0, 3, 0, 3][index];
            }
            socket.send_to(&packet, "224.0.0.251:5353").unwrap();
        }

        // A well-formed instance is accepted from any host. Packets are handled in order, so once this instance is
        // received, all packets before it have been handled.
        register(&hostile, "good", good.into_iter().map(TxtProperty::from).collect());
        assert_eq!(next(&mut found).await, release(peer.parse().unwrap(), 4001, &advert("stable/x86_64", 1)));
        let last = advert("stable/x86_64", 2);
        of_honest.advertise(4002, std::slice::from_ref(&last)).await.unwrap();
        assert_eq!(next(&mut found).await, release(honest, 4002, &last));
        hostile.shutdown().unwrap();
    });
}

#[test]
fn dns_sd_ends_before_a_flood_of_records_fills_the_memory() {
    netns::run("dns_sd::dns_sd_ends_before_a_flood_of_records_fills_the_memory", async {
        let (_, mut of_victim) = start().await;
        let _found = of_victim.browse().await.unwrap();
        let socket = UdpSocket::bind((netns::ADDRESS, 0)).unwrap();
        let flood = async {
            for number in 0_u64.. {
                socket.send_to(&addresses_of_many_hosts(number), "224.0.0.251:5353").unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = async {
            while !matches!(of_victim.browse().await, Err(DnsSdError::Ended)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = flood => {}
            () = tokio::time::sleep(LIMIT) => panic!("DNS-SD still runs during a flood of records"),
        }
    });
}

/// Returns an unsolicited mDNS response with the addresses of a hundred hosts. Each value of `packet` gives a hundred
/// other hosts.
fn addresses_of_many_hosts(packet: u64) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 100, 0, 0, 0, 0];
    for host in 0..100 {
        let label = format!("{packet:08x}-{host:02}");
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
        bytes.extend(b"\x05local\0");
        // An address record: type A, class IN, TTL 4500 s, 4 bytes, 10.77.0.9.
        bytes.extend([0, 1, 0, 1, 0, 0, 0x11, 0x94, 0, 4, 10, 77, 0, 9]);
    }
    bytes
}

#[test]
fn the_mdns_thread_ends_on_stop_and_on_drop() {
    netns::run("dns_sd::the_mdns_thread_ends_on_stop_and_on_drop", async {
        let (_, stopped) = start().await;
        let (_, dropped) = start().await;
        let (_, mut full) = start().await;
        let adverts: Vec<Advert> = (0..MAX_ADVERTS).map(|n| advert(&format!("channel-{n}/any"), 1)).collect();
        full.advertise(1, &adverts).await.unwrap();
        assert_eq!(mdns_threads(), 3);
        stopped.stop().await;
        drop(dropped);
        drop(full);
        let gone = async {
            while mdns_threads() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("all threads of mdns-sd end in time");
    });
}

/// Returns how many threads of mdns-sd this process has.
fn mdns_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "mDNS_daemon").count()
}

#[test]
fn an_unshared_port_prevents_the_start_and_too_many_adverts_are_refused() {
    netns::run("dns_sd::an_unshared_port_prevents_the_start_and_too_many_adverts_are_refused", async {
        let taken = (UdpSocket::bind("0.0.0.0:5353").unwrap(), UdpSocket::bind("[::]:5353"));
        let refused = DnsSd::start(PeerId::random(), Interfaces::default()).await;
        assert!(matches!(refused, Err(DnsSdError::Socket)));
        drop(taken);
        let (_, mut sd) = start().await;
        let adverts = vec![advert("stable/any", 1); MAX_ADVERTS + 1];
        assert!(matches!(sd.advertise(1, &adverts).await, Err(DnsSdError::TooMany { given: 65 })));
    });
}

#[test]
fn only_the_named_interfaces_are_used() {
    netns::run("dns_sd::only_the_named_interfaces_are_used", async {
        let (_, mut of_bob) = start().await;
        let mut found = of_bob.browse().await.unwrap();
        let elsewhere = Interfaces::Named(vec!["eth7".to_owned()]);
        let mut of_absent = DnsSd::start(PeerId::random(), elsewhere).await.unwrap();
        of_absent.advertise(1, &[advert("stable/any", 1)]).await.unwrap();
        let peer = PeerId::random();
        let mut of_present = DnsSd::start(peer, Interfaces::Named(vec!["lo".to_owned()])).await.unwrap();
        let here = advert("stable/any", 2);
        of_present.advertise(1, std::slice::from_ref(&here)).await.unwrap();
        // The peer announces 127.0.0.1 and this address. Bob's node ignores 127.0.0.1, because it accepts no loopback
        // addresses of peers.
        assert_eq!(next(&mut found).await, release(peer, 1, &here));
    });
}
