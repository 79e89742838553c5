//! Announces pointer records, which this program signs or reads from a file.

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
use crate::clock;
use crate::envelopes;
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name to announce, as channel/arch
    name: Name,
    /// The secret key to sign the pointer record with; the clients' trust root must list it for pointer records of the
    /// channel
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The CID of the release's manifest, which other nodes provide
    #[arg(long, value_name = "CID", required_unless_present = "url")]
    manifest: Option<Cid>,
    /// A URL from which the release can be fetched over HTTP; repeatable
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// The version of the release; a client refuses a version below the last one that it accepted
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    version: u64,
    /// How long the record is valid after it was signed
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    lifetime: Duration,
    /// The trust root of the clients, to check that they would accept the record
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    announcing: Announcing,
}

#[derive(clap::Args)]
pub(crate) struct FileArgs {
    /// The signed pointer record
    file: PathBuf,
    /// The trust root of the clients, to check that they would accept the record
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    announcing: Announcing,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let key = SigningKey::load(&args.key)?;
    let root = args.root.as_deref().map(cli::read_root).transpose()?;
    // Each put gets a newly signed record, so that the record does not expire.
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
        return Err(unusable("the pointer record has no signature; sign it with a key for pointer records"));
    }
    if envelope.encode().len() > MAX_RECORD_LEN {
        return Err(unusable(&format!("the pointer record is too long for the DHT (at most {MAX_RECORD_LEN} bytes)")));
    }
    let sign = |now: u64| {
        if pointer.expires_at <= now {
            let expired = TrustedTime(pointer.expires_at);
            return Err(unusable(&format!("the pointer record expired at {expired}; publish the release again")));
        }
        check(&envelope, &pointer.name, root.as_ref(), now)?;
        Ok(envelope.encode())
    };
    // The record from the file cannot be signed again, so its lifetime is not used to choose the interval between two
    // puts.
    let announcement = Announcement { key: DhtKey::Name(pointer.name.clone()), lifetime: Duration::MAX, sign: &sign };
    announce(&announcement, &args.announcing, output)
}

/// Verifies a pointer record as a client with this trust root would. Without a root, accepts every record.
fn check(envelope: &Envelope, name: &Name, root: Option<&TrustRoot>, now: u64) -> Result<(), Fault> {
    let Some(root) = root else { return Ok(()) };
    clock::check(now, "the trust root was issued", root.issued_at)?;
    root.verify_pointer(envelope, name, TrustedTime(now)).map(drop).map_err(|error| {
        Fault::from(error).hint("sign with a key that the trust root lists for pointer records of this channel")
    })
}
