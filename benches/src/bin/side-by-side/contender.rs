//! Who is compared, and over what.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use libp2p::Multiaddr;
use phase_transfer::download;

/// The most streams of one fetch by the bare pipeline.
const MAX_STREAMS: u64 = 16;

/// How much memory the Phase client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Memory {
    /// The default configuration of a download.
    Normal,
    /// The configuration for an initramfs.
    Small,
}

impl Memory {
    pub(crate) fn config(self) -> download::Config {
        match self {
            Self::Normal => download::Config::default(),
            Self::Small => download::Config::small(),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Small => "small",
        })
    }
}

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The bare pipeline.
    Bare(Shape),
    /// A Phase client from a Phase provider.
    Phase,
}

/// How the bare pipeline fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Over libp2p's transports as they come, instead of Phase's.
    pub(crate) stock: bool,
    /// Streams in all.
    pub(crate) streams: u64,
    /// Connections that they are spread over.
    pub(crate) connections: u64,
}

impl FromStr for Contender {
    type Err = String;

    /// `phase`, or `bare-<streams>[x<connections>]`, or the same with `stock` instead of `bare`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text}: expected phase, bare-<streams>[x<connections>] or stock-<streams>…");
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
            return Err(format!("{text}: 1 to {MAX_STREAMS} streams, and not more connections than streams"));
        }
        Ok(Self::Bare(Shape { stock, streams, connections }))
    }
}

impl Contender {
    /// As it is given on the command line.
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

/// What the bytes travel over.
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
    /// An address of this machine on a free port.
    pub(crate) fn listen_address(self) -> Multiaddr {
        let text = match self {
            Self::Tls | Self::Noise => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        text.parse().expect("a multiaddr")
    }

    /// As a child process is told.
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
