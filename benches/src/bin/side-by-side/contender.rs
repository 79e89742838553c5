//! The contenders of the comparison, their transports, and the RAM profile of the Phase client.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use libp2p::Multiaddr;
use phase_transfer::download;

/// The largest number of streams in one fetch of the bare pipeline.
const MAX_STREAMS: u64 = 16;

/// The RAM profile of the Phase client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RamProfile {
    /// The default configuration of a Phase download.
    Normal,
    /// The configuration of a Phase download in an initramfs, where RAM is scarce.
    Small,
}

impl RamProfile {
    pub(crate) fn config(self) -> download::Config {
        match self {
            Self::Normal => download::Config::default(),
            Self::Small => download::Config::small(),
        }
    }
}

impl fmt::Display for RamProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Small => "small",
        })
    }
}

/// A contender of the comparison: one way to fetch the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The bare pipeline, with this number of streams and connections.
    Bare(Shape),
    /// A Phase client that fetches from a Phase provider.
    Phase,
}

/// The shape of the bare pipeline: its numbers of streams and connections, and the implementation of its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether the bare pipeline uses libp2p's unchanged transport instead of Phase's transport.
    pub(crate) stock: bool,
    /// The total number of streams over all connections.
    pub(crate) streams: u64,
    /// The number of connections. The streams are distributed evenly over them.
    pub(crate) connections: u64,
}

impl FromStr for Contender {
    type Err = String;

    /// Parses `phase`, `bare-<streams>[x<connections>]` or `stock-<streams>[x<connections>]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text}: expected phase, bare-<streams>[x<connections>] or stock-<streams>[x<connections>]");
        if text == "phase" {
            return Ok(Self::Phase);
        }
        let (kind, shape) = text.split_once('-').ok_or_else(expected)?;
        let (streams, connections) = shape.split_once('x').unwrap_or((shape, "1"));
        let stock = match kind {
            "bare" => false,
            "stock" => true,
            _ => return Err(expected()),
        };
        let streams: u64 = streams.parse().map_err(|_| expected())?;
        let connections: u64 = connections.parse().map_err(|_| expected())?;
        if !(1..=MAX_STREAMS).contains(&streams) || !(1..=streams).contains(&connections) {
            return Err(format!(
                "{text}: needs 1 to {MAX_STREAMS} streams, and at most as many connections as streams"
            ));
        }
        Ok(Self::Bare(Shape { stock, streams, connections }))
    }
}

impl Contender {
    /// Returns the contender in the form that the command line accepts.
    pub(crate) fn argument(self) -> String {
        match self {
            Self::Phase => "phase".to_owned(),
            Self::Bare(Shape { stock, streams, connections }) => {
                format!("{}-{streams}x{connections}", if stock { "stock" } else { "bare" })
            }
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bare(Shape { stock, streams, connections }) = self else { return f.pad("Phase fetch") };
        let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut text = format!("{}, {}", if *stock { "stock" } else { "bare" }, plural(*streams, "stream"));
        if *connections > 1 {
            text += &format!(", {}", plural(*connections, "connection"));
        }
        f.pad(&text)
    }
}

/// The transport between the serving process and the fetching process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// TCP with TLS and yamux.
    Tls,
    /// TCP with Noise and yamux.
    Noise,
    /// QUIC.
    Quic,
}

impl Transport {
    /// Returns a listen address on loopback with port 0, so that the operating system chooses a free port.
    pub(crate) fn listen_address(self) -> Multiaddr {
        let text = match self {
            Self::Tls | Self::Noise => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        text.parse().expect("a multiaddr")
    }

    /// Returns the transport in the form that the command line of a child accepts.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Noise => "noise",
            Self::Quic => "quic",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "TCP + TLS + yamux",
            Self::Noise => "TCP + Noise + yamux",
            Self::Quic => "QUIC",
        }
    }
}
