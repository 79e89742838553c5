//! From where an address can be reached, and so from whom it may be believed.
//!
//! Whoever can make others dial addresses of their choice can aim a whole network at a victim, or at services that
//! trust the loopback interface. So nobody is believed an address that is closer to us than they are themselves: only a
//! peer on this machine has loopback addresses, only one in a private network has private ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Addresses of one peer that are remembered or believed: any more add nothing but dials.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// From where an address can be reached, the narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Within this process: libp2p's memory transport.
    Process,
    /// On this machine.
    Loopback,
    /// In a private or link-local network, or behind a carrier's address translation.
    Private,
    /// From anywhere.
    Public,
}

/// The scope of an address, or `None` if it cannot be dialled: it needs a host, a port and a transport of ours. Host
/// names are not dialled on the word of a peer, since they may resolve to anything.
pub(crate) fn scope(address: &Multiaddr) -> Option<Scope> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Memory(port) => {
            let is_whole = matches!((parts.next(), parts.next()), (None, _) | (Some(Protocol::P2p(_)), None));
            return (port != 0 && is_whole).then_some(Scope::Process);
        }
        Protocol::Ip4(ip) => scope_of_v4(ip),
        Protocol::Ip6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => scope_of_v4(ip),
            None => scope_of_v6(ip),
        },
        _ => None,
    };
    // Exactly what we dial: transports read an address from its end, and look up names anywhere in it.
    let rest = (parts.next()?, parts.next(), parts.next(), parts.next());
    let is_ours = match rest {
        (Protocol::Tcp(port), None, None, None) => port != 0,
        (Protocol::Tcp(port), Some(Protocol::P2p(_)), None, None) => port != 0,
        (Protocol::Udp(port), Some(Protocol::QuicV1), None, None) => port != 0,
        (Protocol::Udp(port), Some(Protocol::QuicV1), Some(Protocol::P2p(_)), None) => port != 0,
        _ => false,
    };
    host.filter(|_| is_ours)
}

/// From where the other end of a connection is seen. Behind a host name that we dialled may be a private network, but not
/// this machine; what cannot be told otherwise is not trusted to be close.
pub(crate) fn scope_of_connection(remote: &Multiaddr) -> Scope {
    let is_name =
        |part| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_));
    let unknown = if remote.iter().next().is_some_and(is_name) { Scope::Private } else { Scope::Public };
    scope(remote).unwrap_or(unknown)
}

fn scope_of_v4(ip: Ipv4Addr) -> Option<Scope> {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    match () {
        () if ip.is_unspecified() || ip.is_multicast() || first == 0 || first >= 240 => None,
        () if ip.is_loopback() => Some(Scope::Loopback),
        () if ip.is_private() || ip.is_link_local() || is_shared => Some(Scope::Private),
        () => Some(Scope::Public),
    }
}

fn scope_of_v6(ip: Ipv6Addr) -> Option<Scope> {
    match () {
        // A link-local address needs a zone, which a multiaddr from elsewhere cannot give.
        () if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() => None,
        () if ip.is_loopback() => Some(Scope::Loopback),
        () if ip.is_unique_local() => Some(Scope::Private),
        () => Some(Scope::Public),
    }
}

/// Those of `addresses` that a peer seen at `from` may be believed, without repetition, at most 8.
pub fn believable(addresses: impl IntoIterator<Item = Multiaddr>, from: Scope) -> Vec<Multiaddr> {
    let mut kept = Vec::new();
    for address in addresses {
        let is_believable = scope(&address).is_some_and(|scope| scope >= from);
        if is_believable && !kept.contains(&address) {
            kept.push(address);
            if kept.len() == MAX_ADDRESSES {
                break;
            }
        }
    }
    kept
}

/// Those of `addresses` that mean to somebody at `asker` what they mean to us, at most eight: who is not on this machine has
/// another loopback interface, who is not in a private network others behind private addresses. Without host names.
pub fn reachable_from(addresses: impl IntoIterator<Item = Multiaddr>, asker: IpAddr) -> Vec<Multiaddr> {
    let scope = match asker.to_canonical() {
        IpAddr::V4(ip) => scope_of_v4(ip),
        IpAddr::V6(ip) => scope_of_v6(ip),
    };
    believable(addresses, scope.unwrap_or(Scope::Public))
}

/// The address without the peer id at its end.
pub fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Whether the address listens on every interface.
pub(crate) fn is_unspecified(address: &Multiaddr) -> bool {
    host(address).is_some_and(|ip| ip.is_unspecified())
}

/// The network an address is in, for diversity: /24 of IPv4, /48 of IPv6, what one customer usually has. Within this
/// machine there are no networks to tell apart.
#[cfg(feature = "dht")]
pub(crate) fn subnet(address: &Multiaddr) -> Option<IpAddr> {
    let network = match host(address)? {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) & !0xff)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 80 << 80)),
    };
    (!network.is_loopback()).then_some(network)
}

fn host(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(ip.into(), IpAddr::from)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scope_or_cannot_be_dialled() {
        for (text, expected) in [
            ("/memory/7", Some(Scope::Process)),
            ("/memory/0", None),
            ("/ip4/127.0.0.1/tcp/1", Some(Scope::Loopback)),
            ("/ip4/127.9.9.9/udp/1/quic-v1", Some(Scope::Loopback)),
            ("/ip6/::1/tcp/1", Some(Scope::Loopback)),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Some(Scope::Loopback)),
            ("/ip4/10.1.2.3/tcp/1", Some(Scope::Private)),
            ("/ip4/172.17.0.2/tcp/1", Some(Scope::Private)),
            ("/ip4/169.254.1.1/tcp/1", Some(Scope::Private)),
            ("/ip4/100.64.0.1/tcp/1", Some(Scope::Private)),
            ("/ip6/fd00::2/tcp/1", Some(Scope::Private)),
            ("/ip4/100.128.0.1/tcp/1", Some(Scope::Public)),
            ("/ip4/8.8.8.8/tcp/4001", Some(Scope::Public)),
            ("/ip6/2606::1/udp/1/quic-v1", Some(Scope::Public)),
            ("/ip6/fe80::1/tcp/1", None),
            ("/ip4/0.0.0.0/tcp/1", None),
            ("/ip4/0.1.2.3/tcp/1", None),
            ("/ip6/::/tcp/1", None),
            ("/ip4/224.0.0.251/udp/5353/quic-v1", None),
            ("/ip4/255.255.255.255/udp/1/quic-v1", None),
            ("/ip4/8.8.8.8/tcp/0", None),
            ("/ip4/8.8.8.8", None),
            ("/dns4/example.org/tcp/1", None),
            ("/tcp/1", None),
            ("/ip4/8.8.8.8/udp/1", None),
            ("/ip4/8.8.8.8/udp/1/ip4/127.0.0.1/tcp/22", None),
            ("/ip4/8.8.8.8/tcp/1/dns4/victim.test/tcp/80", None),
            ("/ip4/8.8.8.8/tcp/1/tls", None),
            ("/memory/1/dns4/victim.test/tcp/80", None),
            ("/ip4/8.8.8.8/tcp/1/p2p/12D3KooWGRUvKK9kW6wqCw5E3mbGZpDYBAt7sQJTzEYLnTvTgpVk", Some(Scope::Public)),
        ] {
            assert_eq!(scope(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn nobody_is_believed_an_address_closer_than_themselves() {
        let all = ["/memory/1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        let addresses = || all.iter().map(|text| text.parse::<Multiaddr>().unwrap());
        for (from, kept) in [(Scope::Process, 4), (Scope::Loopback, 3), (Scope::Private, 2), (Scope::Public, 1)] {
            assert_eq!(believable(addresses(), from), addresses().skip(4 - kept).collect::<Vec<_>>(), "{from:?}");
        }
    }

    #[test]
    fn nobody_is_told_an_address_that_means_something_else_to_them() {
        let all = ["/dns4/seed.test/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        for (asker, skipped) in [
            ("127.0.0.1", 1),
            ("::ffff:127.0.0.1", 1),
            ("::1", 1),
            ("192.168.1.1", 2),
            ("fd00::1", 2),
            ("9.9.9.9", 3),
            ("2606::1", 3),
            // Says nothing about where it is.
            ("fe80::1", 3),
        ] {
            let told = reachable_from(all.iter().map(|text| text.parse().unwrap()), asker.parse().unwrap());
            assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), all[skipped..], "{asker}");
        }
    }

    #[test]
    fn addresses_are_capped_and_kept_once() {
        let many = (0..100_u8).map(|n| format!("/ip4/8.8.8.{}/tcp/1", n / 2).parse().unwrap());
        let kept = believable(many, Scope::Public);
        assert_eq!(kept.len(), MAX_ADDRESSES);
        assert!(kept.is_sorted_by(|a, b| a != b));
    }

    #[cfg(feature = "dht")]
    #[test]
    fn one_customer_is_one_subnet() {
        let subnet = |text: &str| subnet(&text.parse().unwrap());
        assert_eq!(subnet("/ip4/8.8.8.8/tcp/1"), subnet("/ip4/8.8.8.200/udp/2/quic-v1"));
        assert_ne!(subnet("/ip4/8.8.8.8/tcp/1"), subnet("/ip4/8.8.9.8/tcp/1"));
        assert_eq!(subnet("/ip6/2606:1:2:3::1/tcp/1"), subnet("/ip6/2606:1:2:4::1/tcp/1"));
        assert_ne!(subnet("/ip6/2606:1:2:3::1/tcp/1"), subnet("/ip6/2606:1:3:3::1/tcp/1"));
        assert_eq!(subnet("/memory/3"), None);
    }
}
