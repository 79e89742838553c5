//! The SRV and TXT records of a service instance. Writes the records of this node and parses the records of peers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use mdns_sd::{ResolvedService, ServiceInfo};
use phase_core::{HashAlgorithm, Name};

use crate::discovery::local_network::dns_sd::release::{LocalRelease, SERVICE_TYPE};
use crate::discovery::local_network::releases::Advert;

/// The maximum number of addresses that are used from one instance. A host usually has a few.
const MAX_ADDRESSES: usize = 16;
/// The maximum length, in bytes, of the release name in an instance name. DNS permits 63 bytes for the release name and
/// the hash together.
const MAX_READABLE_LEN: usize = 40;
/// The number of hexadecimal hash digits in an instance name and in a host name. The hash makes these names unique.
const HASH_DIGITS: usize = 16;

/// Returns the records that announce `advert`.
///
/// The instance name is the beginning of the release name, followed by a hash of peer id and release name. The hash
/// makes the instance name unique. So mdns-sd does not have to probe whether the name is free, and no host can force a
/// change of the name.
///
/// Each instance has its own host name, because mdns-sd withdraws the addresses of the host together with the instance.
/// Both names are in lower case and without dots, because mdns-sd does not remove a name with capital letters or dots
/// completely from its cache.
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

/// Parses the release that `service` announces. Ignores unknown TXT keys, because other programs or later versions may
/// use them.
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
    // Sort the addresses, so that the same addresses are chosen each time if there are more than [`MAX_ADDRESSES`].
    let hosts: BTreeSet<IpAddr> = hosts.filter(|host| is_dialable(host, permit_loopback)).collect();
    if hosts.is_empty() {
        return Err(Malformed("every address"));
    }
    let multiaddr = |host| Multiaddr::from(host).with(Protocol::Tcp(service.port));
    Ok(hosts.into_iter().take(MAX_ADDRESSES).map(multiaddr).collect())
}

/// Returns whether another host can have this address and be dialled there. A link-local IPv6 address cannot be
/// dialled, because a TCP multiaddr does not contain the interface that such a dial needs.
fn is_dialable(host: &IpAddr, permit_loopback: bool) -> bool {
    let is_usable = match host {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    is_usable && !host.is_unspecified() && !host.is_multicast() && (permit_loopback || !host.is_loopback())
}

fn text<'a>(service: &'a ResolvedService, key: &'static str) -> Result<&'a str, Malformed> {
    let value = service.get_property_val(key).flatten().ok_or(Malformed(key))?;
    std::str::from_utf8(value).map_err(|_| Malformed(key))
}

/// Parses a decimal number. Unlike `str::parse`, refuses a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn port(text: &str) -> Option<u16> {
    u16::try_from(number(text)?).ok().filter(|port| *port != 0)
}

/// A service instance lacks a part, or a part is malformed. The part is a TXT key, the port or the addresses.
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

    /// Returns the service that mdns-sd would resolve from `properties` and `hosts`.
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
    fn announced_records_are_parsed_as_the_same_release() {
        let peer = PEER.parse().unwrap();
        for advert in [advert("stable/x86_64", None), advert("v1.2/aarch64", Some(80))] {
            let mut service = announcement(&peer, 4001, &advert).unwrap().as_resolved_service();
            service.addresses.insert(IpAddr::from([10, 0, 0, 1]).into());
            let Advert { name, version, http_port } = advert;
            let addresses = vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()];
            assert_eq!(parse(&service, false), Ok(LocalRelease { peer, addresses, name, version, http_port }));
        }
    }

    #[test]
    fn instances_have_valid_and_distinct_labels() {
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
    fn an_instance_with_a_malformed_or_missing_value_is_refused() {
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
    fn unknown_txt_keys_are_ignored_and_http_port_is_optional() {
        let properties = [&GOOD[..4], &[("later", b"\xff".as_slice())]].concat();
        let release = parse(&service(&properties, 4001, "192.168.1.2"), false).unwrap();
        assert_eq!((release.version, release.http_port), (u64::MAX, None));
        assert_eq!(release.name, "stable/x86_64".parse().unwrap());
        assert_eq!(release.peer, PEER.parse().unwrap());
    }

    #[test]
    fn only_addresses_that_another_host_can_have_are_used() {
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
    fn the_number_of_addresses_of_an_instance_is_bounded() {
        let hosts: Vec<String> = (1..=200).map(|number| format!("10.0.0.{number}")).collect();
        let release = parse(&service(&GOOD, 5, &hosts.join(",")), false).unwrap();
        assert_eq!(release.addresses.len(), MAX_ADDRESSES);
    }
}
