//! The scope of an address, which says from where the address can be reached. The scope decides from which peers the
//! address is accepted.
//!
//! A hostile node could announce addresses that are not its own. For instance, other nodes would dial services on their
//! own machines if they accepted loopback addresses. Therefore an address is accepted from a peer only if the scope of
//! the address is not narrower than the scope of the peer. So loopback addresses are accepted only from a peer on this
//! machine, and private addresses only from a peer in a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The limit on the addresses that are kept of one peer. More addresses would only cost more dials.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// The scope of an address: from where it can be reached. The variants are ordered from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The address is reachable only within this process, by libp2p's memory transport.
    Process,
    /// The address is reachable only on this machine.
    Loopback,
    /// The address is reachable only in a private network, such as 10.0.0.0/8. IPv4 link-local addresses and the shared
    /// addresses of carriers (100.64.0.0/10) count as private.
    Private,
    /// The address is reachable from anywhere.
    Public,
}

/// Returns the scope of an address, or `None` if the address cannot be dialled. Except for memory addresses, an address
/// must consist of an IP address, a port and a supported transport. Host names return `None`, because a peer could
/// announce a name that resolves to any address.
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
    // Further parts are not permitted, because a transport may dial them instead. For instance, libp2p's TCP transport
    // dials the end of `/ip4/8.8.8.8/udp/1/ip4/127.0.0.1/tcp/22`.
    let rest = (parts.next()?, parts.next(), parts.next(), parts.next());
    let is_supported = match rest {
        (Protocol::Tcp(port), None, None, None) => port != 0,
        (Protocol::Tcp(port), Some(Protocol::P2p(_)), None, None) => port != 0,
        (Protocol::Udp(port), Some(Protocol::QuicV1), None, None) => port != 0,
        (Protocol::Udp(port), Some(Protocol::QuicV1), Some(Protocol::P2p(_)), None) => port != 0,
        _ => false,
    };
    host.filter(|_| is_supported)
}

/// Returns the scope of the remote end of a connection. A host name that this node dialled may lead into a private
/// network, so its scope is [`Scope::Private`]. Any other address without a scope counts as [`Scope::Public`].
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
        // An IPv6 link-local address needs a zone, which the multiaddr of another machine cannot contain.
        () if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() => None,
        () if ip.is_loopback() => Some(Scope::Loopback),
        () if ip.is_unique_local() => Some(Scope::Private),
        () => Some(Scope::Public),
    }
}

/// Returns the addresses that are accepted from a peer of the scope `from`. An address is accepted if its scope is not
/// narrower than `from`. At most 8 different addresses are returned.
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

/// Returns those of `addresses` that are useful to the host `asker`, at most 8. Leaves out loopback addresses if the
/// asker is on another machine, private addresses if the asker is not in a private network, and all host names.
pub fn reachable_from(addresses: impl IntoIterator<Item = Multiaddr>, asker: IpAddr) -> Vec<Multiaddr> {
    let scope = match asker.to_canonical() {
        IpAddr::V4(ip) => scope_of_v4(ip),
        IpAddr::V6(ip) => scope_of_v6(ip),
    };
    believable(addresses, scope.unwrap_or(Scope::Public))
}

/// Removes the peer id at the end of an address, if there is one.
pub fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Returns whether the address is unspecified, such as 0.0.0.0. A listener on an unspecified address listens on every
/// interface.
pub(crate) fn is_unspecified(address: &Multiaddr) -> bool {
    host(address).is_some_and(|ip| ip.is_unspecified())
}

/// Returns the subnet of an address, for limits on records from one subnet. The subnet is a /24 of IPv4 or a /48 of
/// IPv6, which one customer usually has. Returns `None` for IPv4 loopback addresses, which are all on this machine, and
/// for addresses without an IP address.
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
    fn an_address_of_a_narrower_scope_than_its_peer_is_not_accepted() {
        let all = ["/memory/1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        let addresses = || all.iter().map(|text| text.parse::<Multiaddr>().unwrap());
        for (from, kept) in [(Scope::Process, 4), (Scope::Loopback, 3), (Scope::Private, 2), (Scope::Public, 1)] {
            assert_eq!(believable(addresses(), from), addresses().skip(4 - kept).collect::<Vec<_>>(), "{from:?}");
        }
    }

    #[test]
    fn an_asker_gets_only_addresses_that_it_can_reach() {
        let all = ["/dns4/seed.test/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1"];
        for (asker, skipped) in [
            ("127.0.0.1", 1),
            ("::ffff:127.0.0.1", 1),
            ("::1", 1),
            ("192.168.1.1", 2),
            ("fd00::1", 2),
            ("9.9.9.9", 3),
            ("2606::1", 3),
            // A link-local address without a zone has no scope, so only public addresses are returned.
            ("fe80::1", 3),
        ] {
            let reachable = reachable_from(all.iter().map(|text| text.parse().unwrap()), asker.parse().unwrap());
            assert_eq!(reachable.iter().map(ToString::to_string).collect::<Vec<_>>(), all[skipped..], "{asker}");
        }
    }

    #[test]
    fn at_most_eight_different_addresses_are_kept() {
        let many = (0..100_u8).map(|n| format!("/ip4/8.8.8.{}/tcp/1", n / 2).parse().unwrap());
        let kept = believable(many, Scope::Public);
        assert_eq!(kept.len(), MAX_ADDRESSES);
        assert!(kept.is_sorted_by(|a, b| a != b));
    }

    #[cfg(feature = "dht")]
    #[test]
    fn the_addresses_of_one_customer_are_in_one_subnet() {
        let subnet = |text: &str| subnet(&text.parse().unwrap());
        assert_eq!(subnet("/ip4/8.8.8.8/tcp/1"), subnet("/ip4/8.8.8.200/udp/2/quic-v1"));
        assert_ne!(subnet("/ip4/8.8.8.8/tcp/1"), subnet("/ip4/8.8.9.8/tcp/1"));
        assert_eq!(subnet("/ip6/2606:1:2:3::1/tcp/1"), subnet("/ip6/2606:1:2:4::1/tcp/1"));
        assert_ne!(subnet("/ip6/2606:1:2:3::1/tcp/1"), subnet("/ip6/2606:1:3:3::1/tcp/1"));
        assert_eq!(subnet("/memory/3"), None);
    }
}
