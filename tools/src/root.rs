//! `phase root`: who may sign which channel.

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
use crate::{files, release, view};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a trust root for some channels
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Add signatures to a root that is short of its threshold
    Sign(SignArgs),
    /// Put the signatures of several copies of a root into one
    Merge(MergeArgs),
    /// Show a root; fails if its own signatures are short of the threshold
    Show {
        /// The root
        file: PathBuf,
    },
}

const NEW_EXAMPLES: &str = "\
Examples:
  One publisher, whose key also signs the root:
    phase root new --channel stable --key publisher.key -o root.cbor
  Two of three people sign releases, a machine renews the pointer records:
    phase root new --channel stable --channel beta --key a.key.pub --key b.key.pub --key c.key.pub \\
        --threshold 2 --pointer-key online.key.pub -o root.cbor
    phase root sign root.cbor --key a.key        (then b, each on a machine of their own)

A key file is secret (FILE) or public (FILE.pub). A secret one is used to sign the root as well.";

#[derive(clap::Args)]
pub(crate) struct New {
    /// A channel; repeatable. All channels get the same keys
    #[arg(long, value_name = "CHANNEL", required = true)]
    channel: Vec<Label>,
    /// A key that may sign manifests; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// How many of these keys must sign a manifest
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u16,
    /// A key that may sign pointer records; repeatable. Default: those for manifests
    #[arg(long, value_name = "FILE")]
    pointer_key: Vec<PathBuf>,
    /// A key that may sign the next root, and signs this one; repeatable. Default: those for manifests
    #[arg(long, value_name = "FILE")]
    root_key: Vec<PathBuf>,
    /// How many of these must sign a root. Default: as for manifests, as far as there are keys
    #[arg(long, value_name = "N")]
    root_threshold: Option<u16>,
    /// For how long the root is valid
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = cli::parse_duration)]
    expires: Duration,
    /// A further secret key to sign the root with; repeatable
    #[arg(long, value_name = "FILE")]
    sign_key: Vec<PathBuf>,
    #[command(flatten)]
    out: OutputFile,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New(args) => new(&args, output),
        Command::Sign(args) => {
            let (envelope, root, path) = envelopes::sign::<TrustRoot>(&args)?;
            tell(&path, &envelope, &root, output)
        }
        Command::Merge(args) => envelopes::merge::<TrustRoot>(&args, output),
        Command::Show { file } => {
            let envelope = envelopes::read(&file)?;
            let root: TrustRoot = envelopes::payload(&file, &envelope)?;
            tell(&file, &envelope, &root, output)?;
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
    let (issued_at, expires_at) = release::lifetime(args.expires)?;
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
    tell(&args.out.path, &envelope, &root, output)
}

/// Shows a root, and what it lacks.
fn tell(path: &std::path::Path, envelope: &Envelope, root: &TrustRoot, output: &Output) -> Result<(), Fault> {
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
                envelopes::signature_lines(envelope)
            )
        },
    )?;
    if !valid {
        let threshold = root.root.threshold;
        let rest = "each further holder of a root key runs: phase root sign FILE --key KEY";
        output.remark(&format!("not valid yet: {threshold} of its keys must sign it; {rest}"));
    }
    Ok(())
}

/// All keys that were named.
#[derive(Default)]
struct KeyRing {
    public: BTreeMap<KeyId, PublicKey>,
    secret: BTreeMap<KeyId, SigningKey>,
}

impl KeyRing {
    /// Adds keys and returns their ids.
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

    /// The keys to sign the root with.
    fn signers(&self, root: &TrustRoot, args: &New) -> Result<Vec<SigningKey>, Fault> {
        let may_sign = |key: &&SigningKey| root.root.keys.contains(&key.id());
        let mut signers: Vec<_> = self.secret.values().filter(may_sign).cloned().collect();
        for path in &args.sign_key {
            let key = SigningKey::load(path)?;
            if !may_sign(&&key) {
                let message = format!("{} is none of the keys that may sign the root", path.display());
                return Err(Fault::new(Failure::Input, message).hint("list it with --root-key"));
            }
            signers.push(key);
        }
        Ok(signers)
    }
}
