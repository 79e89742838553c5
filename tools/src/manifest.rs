//! `phase manifest`: one step at a time, so that signing can happen offline and by several people.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use phase_cli::{self as cli, Fault};
use phase_core::envelope::Envelope;
use phase_core::manifest::Manifest;
use phase_core::time::TrustedTime;
use phase_core::{Label, Name};
use serde_json::{Value, json};

use crate::envelopes::{self, MergeArgs, SignArgs};
use crate::options::{OutputFile, StoreArgs};
use crate::output::Output;
use crate::release::{self, ContentArgs};
use crate::{files, view};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Import files into a store and write a manifest that nobody has signed yet
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Sign a manifest; needs nothing but the file and a key
    Sign(SignArgs),
    /// Put the signatures of several copies of a manifest into one
    Merge(MergeArgs),
    /// Show a manifest; nothing is verified
    Show {
        /// The manifest
        file: PathBuf,
    },
    /// Check a manifest as a client would: name, signatures, threshold, expiry
    Verify(Verify),
}

const NEW_EXAMPLES: &str = "\
Examples:
  phase manifest new --store /srv/phase --channel stable --arch x86_64 --version 7 --release 2025.11 \\
      --artifact kernel=vmlinuz --artifact initramfs=initrd.img -o release.cbor
  phase manifest sign release.cbor --key a.key         (offline; then b.key elsewhere)
  phase manifest verify release.cbor --root root.cbor --name stable/x86_64
  phase publish --store /srv/phase --root root.cbor --manifest release.cbor --key online.key";

#[derive(clap::Args)]
pub(crate) struct New {
    /// The channel it is a release of, for instance stable
    #[arg(long)]
    channel: Label,
    /// The architecture it is for, for instance x86_64
    #[arg(long)]
    arch: Label,
    /// Its number, above that of every earlier release of the name
    #[arg(long, value_name = "N")]
    version: u64,
    #[command(flatten)]
    content: ContentArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    out: OutputFile,
}

#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The manifest
    file: PathBuf,
    /// The trust root
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// What it should be a release of, as channel/arch
    #[arg(long)]
    name: Name,
    /// Verify as of this time, in seconds since 1970. Default: now
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New(args) => new(&args, output),
        Command::Sign(args) => {
            let (envelope, manifest, path) = envelopes::sign::<Manifest>(&args)?;
            tell(&path, &envelope, &manifest, output)
        }
        Command::Merge(args) => envelopes::merge::<Manifest>(&args, output),
        Command::Show { file } => {
            let envelope = envelopes::read(&file)?;
            let manifest = envelopes::payload(&file, &envelope)?;
            tell(&file, &envelope, &manifest, output)
        }
        Command::Verify(args) => verify(&args, output),
    }
}

fn new(args: &New, output: &Output) -> Result<(), Fault> {
    files::check_free(&args.out.path)?;
    let name = Name { channel: args.channel.clone(), arch: args.arch.clone() };
    let draft = args.content.draft(&name, Some(args.version))?;
    draft.check()?;
    let store = args.store.open()?;
    let manifest = release::with_progress(output, |progress| draft.import(&store, args.version, progress))?;
    let envelope = Envelope::unsigned(&manifest)?;
    files::write_new(&args.out.path, &envelope.encode())?;
    tell(&args.out.path, &envelope, &manifest, output)?;
    output.remark("next: phase manifest sign FILE --key KEY, once for each signer");
    Ok(())
}

fn verify(args: &Verify, output: &Output) -> Result<(), Fault> {
    let root = cli::read_root(&args.root)?;
    let envelope = envelopes::read(&args.file)?;
    let at = TrustedTime(args.at.unwrap_or_else(cli::now));
    let manifest = root.verify_manifest(&envelope, &args.name, at)?;
    output.result(
        || {
            let mut json = document(&args.file, &envelope, &manifest);
            json["verified"] = true.into();
            json
        },
        || format!("verified: {} version {} may be used", manifest.name(), manifest.version),
    )
}

fn tell(path: &Path, envelope: &Envelope, manifest: &Manifest, output: &Output) -> Result<(), Fault> {
    output.result(
        || document(path, envelope, manifest),
        || {
            let cid = envelope.cid();
            let (content, signatures) = (view::manifest_text(manifest), envelopes::signature_lines(envelope));
            format!("file       {}\nmanifest   {cid}\n{content}\n{signatures}", path.display())
        },
    )
}

fn document(path: &Path, envelope: &Envelope, manifest: &Manifest) -> Value {
    let mut json = view::manifest_json(manifest);
    json["file"] = json!(path);
    json["cid"] = envelope.cid().to_string().into();
    json["signatures"] = envelopes::json_signatures(envelope).into();
    json
}
