//! Host names in addresses: `/dns`, `/dns4`, `/dns6`, and `/dnsaddr`, whose TXT records contain addresses.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf::read_system_conf;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::{Transport as _, dns};

use crate::error::root_cause;
use crate::transport::config::Connections;

/// How long dialling a host name may take. The addresses of a name are dialled one after the other, so the time must be
/// enough for addresses that do not answer. It is enough to look up the name and to dial three addresses.
const NAME_TIMEOUT: Duration = Duration::from_secs(30);

/// The configuration of libp2p's resolver.
type Configuration = (ResolverConfig, ResolverOpts);

/// Lets `transport` dial host names. The names are resolved by `nameserver`, or by the DNS servers of the system if
/// `nameserver` is `None`.
pub(crate) fn resolving(transport: Connections, nameserver: Option<SocketAddr>) -> Connections {
    let configuration = match nameserver {
        Some(address) => (only(address), ResolverOpts::default()),
        None => or_none(read_system_conf()),
    };
    resolving_with(transport, configuration)
}

fn resolving_with(transport: Connections, (servers, options): Configuration) -> Connections {
    let named = dns::tokio::Transport::custom(transport, servers, options).map_err(|error| DialError(cause(&error)));
    TransportTimeout::with_outgoing_timeout(named, NAME_TIMEOUT).boxed()
}

/// Returns the configuration that uses only the DNS server at `address`.
fn only(address: SocketAddr) -> ResolverConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(address.ip(), true, connections)])
}

/// Returns the DNS configuration of the system. If the system has no readable configuration, returns one without DNS
/// servers, so that all addresses without host names can still be dialled.
fn or_none(system: Result<Configuration, NetError>) -> Configuration {
    system.unwrap_or_else(|error| {
        tracing::debug!(%error, "no DNS server is known: host names in addresses cannot be resolved");
        (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
    })
}

/// An error from dialling a host name, with the causes for all addresses on one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DialError(String);

fn cause(error: &dns::Error<std::io::Error>) -> String {
    match error {
        dns::Error::Dial(errors) => {
            let mut causes: Vec<_> = errors.iter().map(cause).collect();
            causes.dedup();
            causes.join("; ")
        }
        dns::Error::Transport(error) => root_cause(error),
        dns::Error::MultiaddrNotSupported(address) => format!("no transport can dial {address}"),
        dns::Error::ResolveError(NetError::NoConnections) => "no DNS server is known to resolve the host name".into(),
        dns::Error::ResolveError(error) if error.is_no_records_found() => "the host name has no such DNS record".into(),
        dns::Error::ResolveError(error) => format!("cannot resolve the host name: {error}"),
        dns::Error::TooManyLookups => "the host name leads to too many other names".into(),
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::core::transport::{DialOpts, PortUse};
    use libp2p::identity::Keypair;

    use super::*;
    use crate::transport::config::TransportConfig;
    use crate::transport::stack::sockets;

    #[tokio::test]
    async fn without_a_dns_server_only_addresses_with_host_names_fail() {
        let sockets = sockets(&Keypair::generate_ed25519(), &TransportConfig::default()).unwrap();
        let mut transport = resolving_with(sockets, or_none(Err(NetError::from("no such file"))));
        let how = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

        for (address, cause) in [
            ("/dns4/host.test/tcp/1", "no DNS server is known"),
            ("/dnsaddr/host.test", "no DNS server is known"),
            // No program listens on this port.
            ("/ip4/127.0.0.1/tcp/1", "refused"),
            ("/ip4/127.0.0.1/sctp/1", "/ip4/127.0.0.1/sctp/1"),
        ] {
            let dial = transport.dial(address.parse().unwrap(), how).unwrap();
            let error = dial.await.map(|(peer, _)| peer).unwrap_err();
            assert!(root_cause(&error).contains(cause), "{address}: {}", root_cause(&error));
        }
    }
}
