//! Announces authority records, which list the names that a key claims to sign for.

use std::path::PathBuf;
use std::time::Duration;

use phase_cli::{self as cli, Fault};
use phase_core::codec::V1;
use phase_core::dht::DhtRecord as _;
use phase_core::{Authority, DhtKey, Name, SigningKey};
use phase_node::bootstrap::BootstrapPeer;

use crate::advertise::announcement::{Announcement, Announcing, announce};
use crate::network;
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The publisher's secret key, with which the record is signed
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A name that the key signs for, as channel/arch; repeatable
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<Name>,
    /// An address of a provider of these names, as multiaddr with or without /p2p; repeatable
    #[arg(long, value_name = "ADDR")]
    provider: Vec<BootstrapPeer>,
    /// The version of the record; a higher version replaces a lower one. Default: the time in seconds since 1970
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    version: Option<u64>,
    /// How long the record is valid after it was signed
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    lifetime: Duration,
    #[command(flatten)]
    announcing: Announcing,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let key = SigningKey::load(&args.key)?;
    let sign = |now: u64| {
        let authority = Authority {
            v: V1,
            key: key.public(),
            names: args.name.clone(),
            providers: network::texts(&args.provider),
            version: args.version.unwrap_or(now),
            issued_at: now,
            expires_at: now.saturating_add(args.lifetime.as_secs().max(1)),
        };
        Ok(authority.seal(&key)?)
    };
    let announcement = Announcement { key: DhtKey::Authority(key.id()), lifetime: args.lifetime, sign: &sign };
    announce(&announcement, &args.announcing, output)
}
