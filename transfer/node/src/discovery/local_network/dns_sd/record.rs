//! What an instance of the service says in SRV and TXT records: writing ours, reading those of others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use mdns_sd::{ResolvedService, ServiceInfo};
use phase_core::{HashAlgorithm, Name};

use crate::discovery::local_network::dns_sd::release::{LocalRelease, SERVICE_TYPE};
use crate::discovery::local_network::releases::Advert;

/// Addresses that are taken of one instance; a host has a few.
const MAX_ADDRESSES: usize = 16;
/// How much of the name stands in the instance's label, which may have 63 bytes with the hash.
const MAX_READABLE_LEN: usize = 40;
/// Digits of the hash that makes instance and host unique.
const HASH_DIGITS: usize = 16;

/// The records that tell of `advert`.
///
/// The instance name begins like the release name and ends in a hash of peer and name, which makes it unique: so nobody
/// needs to be asked whether it is free, and nobody can make us change it. Each instance has a host name of its own, as
/// mdns-sd withdraws the addresses of the host together with the instance. All in lower case without dots: mdns-sd forgets
/// others only imperfectly.
pub(crate) fn announcement(peer: &PeerId, tcp_port: u16, advert: &Advert) -> Result<ServiceInfo, mdns_sd::Error> {
    let Advert { name, version, http_port } = advert;
    let mut readable = format!("{}-{}", name.channel, name.arch).replace('.', "-");
    readable.truncate(MAX_READABLE_LEN);
    let digest = HashAlgorithm::Blake3.digest(&[&peer.to_bytes(), name.key().as_bytes()].concat()).to_string();
    let hash = &digest[..HASH_DIGITS];
    let mut properties = vec![
        ("channel", name.channel.to_string()),
        ("arch", name.arch.to_string()),
        ("version", version.to_string()),
        ("peer", peer.to_string()),
    ];
    properties.extend(http_port.map(|port| ("http_port", port.to_string())));
    let host = format!("phase-{hash}.local.");
    let instance = format!("{readable}-{hash}");
    let info = ServiceInfo::new(SERVICE_TYPE, &instance, &host, (), tcp_port, properties.as_slice())?;
    let mut info = info.enable_addr_auto();
    info.set_requires_probe(false);
    Ok(info)
}

/// What `service` claims. Keys that we do not know are for others, or for later.
pub(crate) fn parse(service: &ResolvedService, permit_loopback: bool) -> Result<LocalRelease, Malformed> {
    let label = |key| text(service, key)?.parse().map_err(|_| Malformed(key));
    let name = Name { channel: label("channel")?, arch: label("arch")? };
    let version = number(text(service, "version")?).ok_or(Malformed("version"))?;
    let peer = text(service, "peer")?.parse().map_err(|_| Malformed("peer"))?;
    let http_port = match service.get_property("http_port") {
        Some(_) => Some(port(text(service, "http_port")?).ok_or(Malformed("http_port"))?),
        None => None,
    };
    let addresses = addresses(service, permit_loopback)?;
    Ok(LocalRelease { peer, addresses, name, version, http_port })
}

fn addresses(service: &ResolvedService, permit_loopback: bool) -> Result<Vec<Multiaddr>, Malformed> {
    if service.port == 0 {
        return Err(Malformed("the port"));
    }
    let hosts = service.addresses.iter().map(|address| address.to_ip_addr().to_canonical());
    // In order, so that of too many always the same are taken.
    let hosts: BTreeSet<IpAddr> = hosts.filter(|host| is_dialable(host, permit_loopback)).collect();
    if hosts.is_empty() {
        return Err(Malformed("every address"));
    }
    let multiaddr = |host| Multiaddr::from(host).with(Protocol::Tcp(service.port));
    Ok(hosts.into_iter().take(MAX_ADDRESSES).map(multiaddr).collect())
}

/// Whether somebody else could be there. A link-local IPv6 address cannot be dialled without the interface, for which a
/// TCP multiaddr has no place.
fn is_dialable(host: &IpAddr, permit_loopback: bool) -> bool {
    let somewhere = match host {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    somewhere && !host.is_unspecified() && !host.is_multicast() && (permit_loopback || !host.is_loopback())
}

fn text<'a>(service: &'a ResolvedService, key: &'static str) -> Result<&'a str, Malformed> {
    let value = service.get_property_val(key).flatten().ok_or(Malformed(key))?;
    std::str::from_utf8(value).map_err(|_| Malformed(key))
}

/// A decimal number; `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn port(text: &str) -> Option<u16> {
    u16::try_from(number(text)?).ok().filter(|port| *port != 0)
}

/// What an instance does not say, or not as it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing or malformed")]
pub(crate) struct Malformed(&'static str);

#[cfg(test)]
mod tests {
    use mdns_sd::TxtProperty;

    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    fn advert(name: &str, http_port: Option<u16>) -> Advert {
        Advert { name: name.parse().unwrap(), version: 7, http_port }
    }

    /// What mdns-sd would resolve from `properties` and `hosts`.
    fn service(properties: &[(&str, &[u8])], port: u16, hosts: &str) -> ResolvedService {
        let properties: Vec<TxtProperty> = properties.iter().copied().map(TxtProperty::from).collect();
        let info = ServiceInfo::new(SERVICE_TYPE, "an instance", "host.local.", hosts, port, properties).unwrap();
        info.as_resolved_service()
    }

    const GOOD: [(&str, &[u8]); 5] = [
        ("channel", b"stable"),
        ("arch", b"x86_64"),
        ("version", b"18446744073709551615"),
        ("peer", PEER.as_bytes()),
        ("http_port", b"8080"),
    ];

    #[test]
    fn what_is_announced_is_what_is_read() {
        let peer = PEER.parse().unwrap();
        for advert in [advert("stable/x86_64", None), advert("v1.2/aarch64", Some(80))] {
            let mut said = announcement(&peer, 4001, &advert).unwrap().as_resolved_service();
            said.addresses.insert(IpAddr::from([10, 0, 0, 1]).into());
            let Advert { name, version, http_port } = advert;
            let addresses = vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()];
            assert_eq!(parse(&said, false), Ok(LocalRelease { peer, addresses, name, version, http_port }));
        }
    }

    #[test]
    fn instances_have_valid_labels_of_their_own() {
        let peer = PEER.parse().unwrap();
        let long = "x".repeat(64);
        let names =
            ["a/b".to_owned(), "a.b/c".to_owned(), "a/b.c".to_owned(), format!("{long}/a"), format!("{long}/b")];
        let infos = names.map(|name| announcement(&peer, 1, &advert(&name, None)).unwrap());
        for info in &infos {
            let label = info.get_fullname().strip_suffix(&format!(".{SERVICE_TYPE}")).unwrap();
            assert!(label.len() <= 63 && !label.contains('.'), "{label}");
            assert_eq!(label, label.to_lowercase());
        }
        let distinct: BTreeSet<(&str, &str)> =
            infos.iter().map(|info| (info.get_fullname(), info.get_hostname())).collect();
        assert_eq!(distinct.len(), infos.len());
        let other = announcement(&PeerId::random(), 1, &advert("a/b", None)).unwrap();
        assert_ne!(other.get_fullname(), infos[0].get_fullname());
    }

    #[test]
    fn a_malformed_or_missing_value_condemns_the_instance() {
        let wrong: [(&str, &[u8]); 24] = [
            ("channel", b""),
            ("channel", b"../etc"),
            ("channel", b"Stable"),
            ("channel", b"a/b"),
            ("channel", &[b'a'; 65]),
            ("channel", b"\xff\xfe"),
            ("arch", b""),
            ("arch", b"x86 64"),
            ("arch", b"\0"),
            ("version", b""),
            ("version", b"-1"),
            ("version", b"+1"),
            ("version", b"1.0"),
            ("version", b" 1"),
            ("version", b"18446744073709551616"),
            ("version", &[b'9'; 200]),
            ("peer", b""),
            ("peer", b"12D3KooW"),
            ("peer", &[b'z'; 200]),
            ("peer", b"\xc3\x28"),
            ("http_port", b""),
            ("http_port", b"0"),
            ("http_port", b"65536"),
            ("http_port", b"http"),
        ];
        for (key, value) in wrong {
            let mut properties = GOOD;
            properties.iter_mut().find(|(known, _)| *known == key).unwrap().1 = value;
            assert_eq!(parse(&service(&properties, 1, "10.0.0.1"), false), Err(Malformed(key)), "{value:?}");
        }
        for missing in ["channel", "arch", "version", "peer"] {
            let properties: Vec<_> = GOOD.into_iter().filter(|(key, _)| *key != missing).collect();
            assert_eq!(parse(&service(&properties, 1, "10.0.0.1"), false), Err(Malformed(missing)));
        }
        let valueless: Vec<TxtProperty> = ["channel", "arch", "version", "peer"].map(TxtProperty::from).into();
        let info = ServiceInfo::new(SERVICE_TYPE, "i", "h.local.", "10.0.0.1", 1, valueless).unwrap();
        assert_eq!(parse(&info.as_resolved_service(), false), Err(Malformed("channel")));
    }

    #[test]
    fn unknown_keys_are_ignored_and_http_is_not_required() {
        let properties = [&GOOD[..4], &[("later", b"\xff".as_slice())]].concat();
        let release = parse(&service(&properties, 4001, "192.168.1.2"), false).unwrap();
        assert_eq!((release.version, release.http_port), (u64::MAX, None));
        assert_eq!(release.name, "stable/x86_64".parse().unwrap());
        assert_eq!(release.peer, PEER.parse().unwrap());
    }

    #[test]
    fn only_addresses_where_somebody_else_can_be_are_taken() {
        let read = |port, hosts: &str, loopback| {
            let release = parse(&service(&GOOD, port, hosts), loopback).ok()?;
            Some(release.addresses.iter().map(Multiaddr::to_string).collect::<Vec<_>>().join(" "))
        };
        for (hosts, loopback, expected) in [
            ("192.168.1.2,10.0.0.1", false, Some("/ip4/10.0.0.1/tcp/5 /ip4/192.168.1.2/tcp/5")),
            ("2001:db8::1,169.254.1.1", false, Some("/ip4/169.254.1.1/tcp/5 /ip6/2001:db8::1/tcp/5")),
            ("127.0.0.1,10.0.0.1", false, Some("/ip4/10.0.0.1/tcp/5")),
            ("127.0.0.1", false, None),
            ("::1", false, None),
            ("::ffff:127.0.0.1", false, None),
            ("127.0.0.1,::1", true, Some("/ip4/127.0.0.1/tcp/5 /ip6/::1/tcp/5")),
            ("0.0.0.0,255.255.255.255,224.0.0.251,::,ff02::fb,fe80::1", true, None),
            ("", true, None),
        ] {
            assert_eq!(read(5, hosts, loopback).as_deref(), expected, "{hosts}");
        }
        assert_eq!(read(0, "10.0.0.1", false), None);
    }

    #[test]
    fn of_too_many_addresses_some_are_taken() {
        let hosts: Vec<String> = (1..=200).map(|number| format!("10.0.0.{number}")).collect();
        let release = parse(&service(&GOOD, 5, &hosts.join(",")), false).unwrap();
        assert_eq!(release.addresses.len(), MAX_ADDRESSES);
    }
}
