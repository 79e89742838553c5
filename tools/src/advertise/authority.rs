//! Authority records: what a key says it signs for.

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
    /// The secret key that the record is about, which signs it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A name that the key signs for, as channel/arch; repeatable
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<Name>,
    /// Where that is served, as multiaddr with or without /p2p; repeatable
    #[arg(long, value_name = "ADDR")]
    provider: Vec<BootstrapPeer>,
    /// Of two records the one with the higher version counts. Default: the present time, in seconds since 1970
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// How long the record may be believed after it was signed
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration)]
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
