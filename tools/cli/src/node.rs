//! The options about the node: how it finds others, and what it lets out.

use clap::Args;
#[cfg(any(feature = "dht", feature = "mdns"))]
use clap::builder::FalseyValueParser;
#[cfg(feature = "dht")]
use phase_core::Failure;
use phase_node::{DhtConfig, NodeConfig, Role};

use crate::fault::Fault;
use crate::network::BootstrapArgs;

/// How peers are found. Each way can be switched off.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    /// Ask this peer directly, as multiaddr with or without /p2p; repeatable, or separated by commas. Nobody else is looked
    /// for: no DHT, no mDNS
    #[arg(long = "peer", value_name = "ADDR", value_delimiter = ',')]
    peers: Vec<String>,
    /// Do not take part in the DHT
    #[cfg(feature = "dht")]
    #[arg(long, env = "PHASE_NO_DHT", value_parser = FalseyValueParser::new())]
    no_dht: bool,
    /// The name of the DHT's protocol: networks with different names do not see each other
    #[cfg(feature = "dht")]
    #[arg(
        long,
        value_name = "NAME",
        env = "PHASE_DHT_PROTOCOL",
        default_value = "/phase/kad/1.0.0",
        hide_short_help = true
    )]
    dht_protocol: String,
    /// Do not look for peers in the local network, nor tell them of us
    #[cfg(feature = "mdns")]
    #[arg(long, env = "PHASE_NO_MDNS", value_parser = FalseyValueParser::new())]
    no_mdns: bool,
}

impl NodeArgs {
    /// What the options say, for a node that has a new key and listens nowhere.
    ///
    /// # Errors
    /// A malformed address or protocol name, or a list of peers that cannot be read.
    pub fn configure(&self, role: Role) -> Result<NodeConfig, Fault> {
        if !self.peers.is_empty() {
            let peers = self.peers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            return Ok(NodeConfig { peers, ..NodeConfig::default() });
        }
        let (bootstrap, dht, mdns) = (self.bootstrap.choose()?, self.dht(role)?, self.mdns());
        Ok(NodeConfig { bootstrap, dht, mdns, ..NodeConfig::default() })
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
                format!("{:?} is not the name of a protocol: it has to begin with a slash", self.dht_protocol);
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
    #[expect(clippy::unnecessary_wraps, reason = "with the DHT it can fail")]
    fn dht(&self, _: Role) -> Result<Option<DhtConfig>, Fault> {
        Ok(None)
    }
}
