//! Pointer records: made here, or signed elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use phase_cli::{self as cli, Fault};
use phase_core::codec::V1;
use phase_core::dht::Pointer;
use phase_core::dht::{DhtRecord as _, MAX_RECORD_LEN};
use phase_core::envelope::Envelope;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Cid, DhtKey, Failure, Name, SigningKey};

use crate::advertise::announcement::{Announcement, Announcing, announce};
use crate::envelopes;
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to announce, as channel/arch
    name: Name,
    /// The secret key that signs the pointer record: one that the root lists for the channel's pointers
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The release's manifest, which others provide
    #[arg(long, value_name = "CID", required_unless_present = "url")]
    manifest: Option<Cid>,
    /// Where the release can be got over HTTP; repeatable
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// The release's number: clients never go back
    #[arg(long, value_name = "N")]
    version: u64,
    /// How long the record may be believed after it was signed
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration)]
    lifetime: Duration,
    /// The trust root that clients have, to check that they would accept the record
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    announcing: Announcing,
}

#[derive(clap::Args)]
pub(crate) struct FileArgs {
    /// The signed pointer record
    file: PathBuf,
    /// The trust root that clients have, to check that they would accept the record
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    announcing: Announcing,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let key = SigningKey::load(&args.key)?;
    let root = args.root.as_deref().map(cli::read_root).transpose()?;
    // Signed anew each time, since its own time runs out.
    let sign = |now: u64| {
        let pointer = Pointer {
            v: V1,
            name: args.name.clone(),
            manifest: args.manifest,
            version: args.version,
            issued_at: now,
            expires_at: now.saturating_add(args.lifetime.as_secs().max(1)),
            urls: args.url.clone(),
        };
        let sealed = pointer.seal(&key)?;
        check(&Envelope::decode(&sealed)?, &args.name, root.as_ref(), now)?;
        Ok(sealed)
    };
    let announcement = Announcement { key: DhtKey::Name(args.name.clone()), lifetime: args.lifetime, sign: &sign };
    announce(&announcement, &args.announcing, output)
}

pub(super) fn run_file(args: &FileArgs, output: &Output) -> Result<(), Fault> {
    let envelope = envelopes::read(&args.file)?;
    let pointer: Pointer = envelopes::payload(&args.file, &envelope)?;
    let root = args.root.as_deref().map(cli::read_root).transpose()?;
    let unusable = |reason: &str| Fault::new(Failure::Input, format!("{}: {reason}", args.file.display()));
    if envelope.signatures().is_empty() {
        return Err(unusable("nobody has signed it"));
    }
    if envelope.encode().len() > MAX_RECORD_LEN {
        return Err(unusable("too long for the DHT"));
    }
    let sign = |now: u64| {
        if pointer.expires_at <= now {
            return Err(unusable(&format!("expired at {}", TrustedTime(pointer.expires_at))));
        }
        check(&envelope, &pointer.name, root.as_ref(), now)?;
        Ok(envelope.encode())
    };
    // It is the same each time: its own time runs out only once.
    let announcement = Announcement { key: DhtKey::Name(pointer.name.clone()), lifetime: Duration::MAX, sign: &sign };
    announce(&announcement, &args.announcing, output)
}

/// As a client would do it.
fn check(envelope: &Envelope, name: &Name, root: Option<&TrustRoot>, now: u64) -> Result<(), Fault> {
    let Some(root) = root else { return Ok(()) };
    root.verify_pointer(envelope, name, TrustedTime(now)).map(drop).map_err(|error| {
        Fault::from(error).hint("sign with a key that the root lists for pointer records of this channel")
    })
}
