//! The command-line options that say how the node finds peers.

use clap::Args;
#[cfg(any(feature = "dht", feature = "mdns"))]
use clap::builder::FalseyValueParser;
#[cfg(feature = "dht")]
use phase_core::Failure;
use phase_node::{DhtConfig, NodeConfig, Role};

use crate::fault::Fault;
use crate::network::{BootstrapArgs, NETWORK, parse_source};

/// The options that say how the node finds peers. The DHT and mDNS can be switched off.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    /// Connect only to this peer, as multiaddr with or without /p2p; repeatable, or separated by commas. Switches the
    /// DHT and mDNS off
    #[arg(long = "peer", value_name = "ADDR", value_delimiter = ',', help_heading = NETWORK)]
    peers: Vec<String>,
    /// Do not take part in the DHT
    #[cfg(feature = "dht")]
    #[arg(long, env = "PHASE_NO_DHT", value_parser = FalseyValueParser::new(), help_heading = NETWORK)]
    no_dht: bool,
    /// The protocol name of the DHT; nodes with different protocol names do not find each other
    #[cfg(feature = "dht")]
    #[arg(
        long,
        value_name = "NAME",
        env = "PHASE_DHT_PROTOCOL",
        default_value = "/phase/kad/1.0.0",
        hide_short_help = true,
        help_heading = NETWORK
    )]
    dht_protocol: String,
    /// Do not search the local network for peers, and do not announce this node there
    #[cfg(feature = "mdns")]
    #[arg(long, env = "PHASE_NO_MDNS", value_parser = FalseyValueParser::new(), help_heading = NETWORK)]
    no_mdns: bool,
}

impl NodeArgs {
    /// Returns the node configuration for these options, with a new identity and without listen addresses.
    ///
    /// # Errors
    /// If an address or the protocol name is malformed, or if a file with bootstrap peers cannot be read.
    pub fn configure(&self, role: Role) -> Result<NodeConfig, Fault> {
        if !self.peers.is_empty() {
            let peers = self.peers.iter().map(|text| parse_source(text)).collect::<Result<_, _>>()?;
            return Ok(NodeConfig { peers, ..NodeConfig::default() });
        }
        let (bootstrap, dht, mdns) = (self.bootstrap.choose()?, self.dht(role)?, self.mdns());
        Ok(NodeConfig { bootstrap, dht, mdns, ..NodeConfig::default() })
    }

    /// Returns whether `--peer` is given, which switches the DHT off.
    pub fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    #[cfg(feature = "mdns")]
    fn mdns(&self) -> bool {
        !self.no_mdns
    }

    #[cfg(not(feature = "mdns"))]
    fn mdns(&self) -> bool {
        false
    }

    #[cfg(feature = "dht")]
    fn dht(&self, role: Role) -> Result<Option<DhtConfig>, Fault> {
        if self.no_dht {
            return Ok(None);
        }
        let protocol = phase_node::StreamProtocol::try_from_owned(self.dht_protocol.clone()).map_err(|_| {
            let message =
                format!("--dht-protocol {:?} is not a protocol name: it must begin with a slash", self.dht_protocol);
            Fault::new(Failure::Usage, message)
        })?;
        Ok(Some(DhtConfig {
            role,
            protocol,
            clock: Some(std::sync::Arc::new(super::process::now)),
            ..DhtConfig::default()
        }))
    }

    #[cfg(not(feature = "dht"))]
    #[expect(clippy::unnecessary_wraps, reason = "the variant with the DHT can fail")]
    fn dht(&self, _: Role) -> Result<Option<DhtConfig>, Fault> {
        Ok(None)
    }
}
