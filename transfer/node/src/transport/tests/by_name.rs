//! Tests of host names in addresses, with a DNS server in the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::error::root_cause;
use crate::transport::tests::*;

type Zone = BTreeMap<(&'static str, RecordType), Vec<RData>>;

/// Starts a DNS server for `zone`, which runs until the process ends.
fn serve(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let Ok(question) = Message::from_vec(&buffer[..len]) else { continue };
            socket.send_to(&answer(&zone, &question).to_vec().unwrap(), from).unwrap();
        }
    });
    address
}

fn answer(zone: &Zone, question: &Message) -> Message {
    let query = &question.queries[0];
    let name = query.name().to_ascii();
    let mut message = Message::new(question.id, MessageType::Response, OpCode::Query);
    message.add_query(query.clone());
    match zone.iter().find(|((known, kind), _)| format!("{known}.") == name && *kind == query.query_type()) {
        Some((_, records)) => {
            for data in records {
                message.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
            }
        }
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message
}

fn dnsaddr(addresses: &[String]) -> Vec<RData> {
    addresses.iter().map(|address| RData::TXT(TXT::new(vec![format!("dnsaddr={address}")]))).collect()
}

fn hosts() -> Zone {
    BTreeMap::from([
        (("host.test", RecordType::A), vec![RData::A(A(Ipv4Addr::LOCALHOST))]),
        (("host.test", RecordType::AAAA), vec![RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))]),
    ])
}

/// Builds a Swarm that resolves host names with `nameserver`.
fn asking(nameserver: SocketAddr) -> Swarm<dummy::Behaviour> {
    swarm(&TransportConfig { nameserver: Some(nameserver), ..TransportConfig::default() })
}

/// Returns `bound` with its IP address replaced by a host name.
fn named(bound: &Multiaddr, name: &str) -> Multiaddr {
    let text = bound.to_string();
    let rest = text.splitn(4, '/').nth(3).unwrap();
    format!("{name}/{rest}").parse().unwrap()
}

#[tokio::test]
async fn hosts_are_reached_by_name_over_every_transport() {
    let nameserver = serve(hosts());
    for (listen, name) in [
        ("/ip4/127.0.0.1/tcp/0", "/dns4/host.test"),
        ("/ip4/127.0.0.1/udp/0/quic-v1", "/dns4/host.test"),
        ("/ip6/::1/tcp/0", "/dns6/host.test"),
        ("/ip6/::1/udp/0/quic-v1", "/dns6/host.test"),
        ("/ip6/::1/tcp/0", "/dns/host.test"),
    ] {
        let (peer, bound) = listening(listen).await;
        let address = named(&bound, name);
        assert_eq!(reach(&mut asking(nameserver), &address).await.unwrap(), peer, "{address}");
    }
}

#[tokio::test]
async fn a_dnsaddr_name_resolves_to_the_addresses_in_its_records() {
    let ((first, tcp), (second, quic)) =
        (listening("/ip4/127.0.0.1/tcp/0").await, listening("/ip4/127.0.0.1/udp/0/quic-v1").await);
    let mut zone = hosts();
    let both = [format!("{}/p2p/{first}", named(&tcp, "/dns4/host.test")), format!("{quic}/p2p/{second}")];
    zone.insert(("_dnsaddr.seed.test", RecordType::TXT), dnsaddr(&both));
    let nameserver = serve(zone);

    let either = reach(&mut asking(nameserver), &"/dnsaddr/seed.test".parse().unwrap()).await.unwrap();
    assert!([first, second].contains(&either));
    for peer in [first, second] {
        let address = format!("/dnsaddr/seed.test/p2p/{peer}").parse().unwrap();
        assert_eq!(reach(&mut asking(nameserver), &address).await.unwrap(), peer);
    }
}

#[tokio::test]
async fn the_error_of_an_unknown_host_name_says_that_it_has_no_record() {
    let mut swarm = asking(serve(hosts()));
    for name in ["/dns4/other.test/tcp/1", "/dnsaddr/other.test"] {
        let DialError::Transport(tried) = reach(&mut swarm, &name.parse().unwrap()).await.unwrap_err() else {
            panic!()
        };
        assert!(root_cause(&tried[0].1).contains("no such DNS record"), "{name}: {}", root_cause(&tried[0].1));
    }
}

#[tokio::test]
async fn unreachable_addresses_of_a_name_do_not_hide_the_reachable_one() {
    // At the address `dead`, a listener accepts connections but sends nothing. So a dial of this address times out.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port());
    let (peer, bound) = listening("/ip4/127.0.0.1/tcp/0").await;
    let mut zone = hosts();
    zone.insert(("_dnsaddr.seed.test", RecordType::TXT), dnsaddr(&[dead.clone(), bound.to_string(), dead]));
    let mut swarm = asking(serve(zone));
    assert_eq!(reach(&mut swarm, &"/dnsaddr/seed.test".parse().unwrap()).await.unwrap(), peer);
}
