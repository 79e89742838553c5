//! `phase root`: makes and shows trust roots, which say which keys may sign which channel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use phase_cli::{self as cli, Fault};
use phase_core::codec::V1;
use phase_core::envelope::Envelope;
use phase_core::trust::{ChannelRole, RootRole, TrustRoot};
use phase_core::{Failure, KeyId, Label, PublicKey, SigningKey};
use serde_json::{Value, json};

use crate::envelopes::{self, MergeArgs, SignArgs};
use crate::key::KeyFile;
use crate::options::OutputFile;
use crate::output::Output;
use crate::{clock, files, release, view};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a trust root for one or more channels
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Add signatures to a trust root
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Combine the signatures of several copies of a trust root
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Show a trust root; fails if it has fewer signatures than its threshold
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The trust root
        file: PathBuf,
    },
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase root new --channel stable --key publisher.key -o root.cbor
  phase root show root.cbor";

const NEW_EXAMPLES: &str = "\
Examples:
  One publisher, whose key also signs the root:
    phase root new --channel stable --key publisher.key -o root.cbor
  Two of three people must sign a release, and a machine signs the pointer records:
    phase root new --channel stable --channel beta --key a.key.pub --key b.key.pub --key c.key.pub \\
        --threshold 2 --pointer-key online.key.pub -o root.cbor
    phase root sign root.cbor --key a.key
    phase root sign root.cbor --key b.key

A key file is secret (FILE) or public (FILE.pub). A root key that is given as a secret file also signs the root.";

const SIGN_EXAMPLES: &str = "\
Examples:
  phase root sign root.cbor --key a.key
  phase root sign root.cbor --key b.key -o root-b.cbor";

const MERGE_EXAMPLES: &str = "\
Examples:
  phase root merge root-a.cbor root-b.cbor -o root.cbor";

const SHOW_EXAMPLES: &str = "\
Examples:
  phase root show root.cbor
  phase root show root.cbor --json";

/// The heading in `--help` of the options about keys that sign manifests and pointer records.
const MANIFESTS: &str = "Keys for manifests";
/// The heading in `--help` of the options about keys that sign the trust root itself.
const ROOTS: &str = "Keys for the root";

#[derive(clap::Args)]
pub(crate) struct New {
    /// A channel that the keys may sign; repeatable
    #[arg(long, value_name = "CHANNEL", required = true)]
    channel: Vec<Label>,
    /// A key that may sign manifests; repeatable
    #[arg(long, value_name = "FILE", required = true, help_heading = MANIFESTS)]
    key: Vec<PathBuf>,
    /// How many of these keys must sign a manifest
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, help_heading = MANIFESTS)]
    threshold: u16,
    /// A key that may sign pointer records; repeatable. Default: the keys given with --key
    #[arg(long, value_name = "FILE", help_heading = MANIFESTS)]
    pointer_key: Vec<PathBuf>,
    /// A key that may sign this root and the next one; repeatable. Default: the keys given with --key
    #[arg(long, value_name = "FILE", help_heading = ROOTS)]
    root_key: Vec<PathBuf>,
    /// How many of the root keys must sign a root. Default: --threshold, at most the number of root keys
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = ROOTS)]
    root_threshold: Option<u16>,
    /// How long the root is valid
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = cli::parse_duration,
        allow_hyphen_values = true, help_heading = ROOTS)]
    expires: Duration,
    /// An additional secret key to sign this root with; repeatable. It must be one of the root keys
    #[arg(long, value_name = "FILE", help_heading = ROOTS)]
    sign_key: Vec<PathBuf>,
    #[command(flatten)]
    out: OutputFile,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New(args) => new(&args, output),
        Command::Sign(args) => {
            let (envelope, root, path) = envelopes::sign::<TrustRoot>(&args, |root| root.issued_at)?;
            print(&path, &envelope, &root, output)
        }
        Command::Merge(args) => envelopes::merge::<TrustRoot>(&args, output),
        Command::Show { file } => {
            let envelope = envelopes::read(&file)?;
            let root: TrustRoot = envelopes::payload(&file, &envelope)?;
            print(&file, &envelope, &root, output)?;
            cli::read_root(&file).map(drop)
        }
    }
}

fn new(args: &New, output: &Output) -> Result<(), Fault> {
    files::check_free(&args.out.path)?;
    let mut ring = KeyRing::default();
    let keys = ring.load(&args.key)?;
    let pointer_keys = if args.pointer_key.is_empty() { keys.clone() } else { ring.load(&args.pointer_key)? };
    let root_keys = if args.root_key.is_empty() { keys.clone() } else { ring.load(&args.root_key)? };
    let most = u16::try_from(root_keys.len()).unwrap_or(u16::MAX);
    let root_threshold = args.root_threshold.unwrap_or(args.threshold.min(most));
    let (issued_at, expires_at) = release::lifetime(clock::signing_time()?, args.expires)?;
    let role = ChannelRole { keys, threshold: args.threshold, pointer_keys };
    let root = TrustRoot {
        v: V1,
        version: 1,
        issued_at,
        expires_at,
        keys: ring.public.clone(),
        root: RootRole { keys: root_keys, threshold: root_threshold },
        channels: args.channel.iter().map(|channel| (channel.clone(), role.clone())).collect(),
    };
    let mut envelope = Envelope::unsigned(&root)?;
    for key in ring.signers(&root, args)? {
        envelope.sign::<TrustRoot>(&key)?;
    }
    files::write_new(&args.out.path, &envelope.encode())?;
    print(&args.out.path, &envelope, &root, output)
}

/// Prints a trust root, and adds a remark if the root needs more signatures.
fn print(path: &std::path::Path, envelope: &Envelope, root: &TrustRoot, output: &Output) -> Result<(), Fault> {
    let valid = TrustRoot::decode_trusted(&envelope.encode()).is_ok();
    output.result(
        || {
            let mut json = view::root_json(root);
            json["file"] = json!(path);
            json["cid"] = Value::from(envelope.cid().to_string());
            json["signatures"] = envelopes::json_signatures(envelope).into();
            json["valid"] = valid.into();
            json
        },
        || {
            format!(
                "file       {}\n{}\n{}",
                path.display(),
                view::root_text(root),
                envelopes::signature_lines(envelope, |id| signature_state(envelope, root, id))
            )
        },
    )?;
    if !valid {
        let keys = view::of_keys(root.root.threshold, root.root.keys.len());
        let next = format!("each further signer runs: phase root sign {} --key KEY", path.display());
        output.remark(&cli::printable(&format!("not valid yet: {keys} must sign it; {next}")));
    }
    Ok(())
}

/// Returns whether the signature of a trust root by the key `id` is valid and counts for the threshold.
fn signature_state(envelope: &Envelope, root: &TrustRoot, id: &KeyId) -> &'static str {
    let Some(key) = root.keys.get(id).filter(|_| root.root.keys.contains(id)) else { return "not a root key" };
    match envelope.verify::<TrustRoot>(&BTreeMap::from([(key.id(), *key)]), 1) {
        Ok(_) => "valid",
        Err(_) => "not valid",
    }
}

/// The keys in all files that the command line names. Some of these files have only the public key.
#[derive(Default)]
struct KeyRing {
    public: BTreeMap<KeyId, PublicKey>,
    secret: BTreeMap<KeyId, SigningKey>,
}

impl KeyRing {
    /// Reads key files, adds their keys to the ring and returns the key ids.
    fn load(&mut self, paths: &[PathBuf]) -> Result<BTreeSet<KeyId>, Fault> {
        let mut ids = BTreeSet::new();
        for path in paths {
            let KeyFile { public, secret } = KeyFile::load(path)?;
            ids.insert(public.id());
            self.public.insert(public.id(), public);
            self.secret.extend(secret.map(|secret| (secret.id(), secret)));
        }
        Ok(ids)
    }

    /// Returns the secret keys with which the new root is signed.
    fn signers(&self, root: &TrustRoot, args: &New) -> Result<Vec<SigningKey>, Fault> {
        let may_sign = |key: &&SigningKey| root.root.keys.contains(&key.id());
        let mut signers: Vec<_> = self.secret.values().filter(may_sign).cloned().collect();
        for path in &args.sign_key {
            let key = SigningKey::load(path)?;
            if !may_sign(&&key) {
                let message = format!("{} is not one of the keys that may sign the root", path.display());
                return Err(Fault::new(Failure::Input, message).hint("add it with --root-key"));
            }
            signers.push(key);
        }
        Ok(signers)
    }
}
