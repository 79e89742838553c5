//! Names in addresses: `/dns`, `/dns4`, `/dns6`, and `/dnsaddr`, whose TXT records name addresses.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf::read_system_conf;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::{Transport as _, dns};

use crate::error::root_cause;
use crate::transport::config::Connections;

/// How long dialling a name may take. The addresses behind it are dialled one after the other, so this is room for two
/// dead ones before one that answers, and for looking them up.
const NAME_TIMEOUT: Duration = Duration::from_secs(30);

/// What libp2p looks names up with.
type Configuration = (ResolverConfig, ResolverOpts);

/// `transport` for addresses with names too, which `nameserver` looks up or those that the system names.
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

fn only(address: SocketAddr) -> ResolverConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(address.ip(), true, connections)])
}

/// A machine that has no DNS server, or none that can be understood, starts all the same: addresses without names need
/// none, and those with one cannot be dialled.
fn or_none(system: Result<Configuration, NetError>) -> Configuration {
    system.unwrap_or_else(|error| {
        tracing::debug!(%error, "no DNS server is known: names in addresses cannot be looked up");
        (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
    })
}

/// Why none of the addresses behind a name can be reached, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DialError(String);

fn cause(error: &dns::Error<std::io::Error>) -> String {
    match error {
        dns::Error::Dial(errors) => errors.iter().map(cause).collect::<Vec<_>>().join("; "),
        dns::Error::Transport(error) => root_cause(error),
        dns::Error::MultiaddrNotSupported(address) => format!("{address} is of a kind that cannot be dialled"),
        dns::Error::ResolveError(NetError::NoConnections) => {
            "no DNS server is known that could look the name up".into()
        }
        dns::Error::ResolveError(error) if error.is_no_records_found() => "the name has no such DNS record".into(),
        dns::Error::ResolveError(error) => format!("cannot look the name up: {error}"),
        dns::Error::TooManyLookups => "the name leads to too many other names".into(),
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
    async fn without_a_server_numbers_are_dialled_and_names_fail_with_a_cause() {
        let sockets = sockets(&Keypair::generate_ed25519(), &TransportConfig::default()).unwrap();
        let mut transport = resolving_with(sockets, or_none(Err(NetError::from("no such file"))));
        let how = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };

        for (address, cause) in [
            ("/dns4/host.test/tcp/1", "no DNS server is known"),
            ("/dnsaddr/host.test", "no DNS server is known"),
            // Nobody listens there.
            ("/ip4/127.0.0.1/tcp/1", "refused"),
            ("/ip4/127.0.0.1/sctp/1", "/ip4/127.0.0.1/sctp/1"),
        ] {
            let dial = transport.dial(address.parse().unwrap(), how).unwrap();
            let error = dial.await.map(|(peer, _)| peer).unwrap_err();
            assert!(root_cause(&error).contains(cause), "{address}: {}", root_cause(&error));
        }
    }
}
