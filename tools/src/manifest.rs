//! `phase manifest`: publishing in separate steps, so that several people can sign, and can do so offline.

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
use crate::release::{self, Content, ContentArgs, RELEASE};
use crate::{clock, files, view};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Import files into a store and write an unsigned manifest
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Sign a manifest; needs only the file and a key
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Combine the signatures of several copies of a manifest
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Show a manifest without verifying it
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The manifest
        file: PathBuf,
    },
    /// Verify a manifest as a client would: name, signatures, threshold, expiry
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase manifest new --store store --channel stable --arch x86_64 --version 7 \\
      --artifact kernel=vmlinuz --artifact initramfs=initrd.img -o release.cbor
  phase manifest sign release.cbor --key publisher.key
  phase manifest verify release.cbor --root root.cbor --name stable/x86_64
  phase publish --store store --root root.cbor --manifest release.cbor --key publisher.key";

const NEW_EXAMPLES: &str = "\
Examples:
  phase manifest new --store store --channel stable --arch x86_64 --version 7 --release 2025.11 \\
      --artifact kernel=vmlinuz --artifact initramfs=initrd.img -o release.cbor

Then each signer runs `phase manifest sign`, and `phase publish --manifest` publishes the release.";

const SIGN_EXAMPLES: &str = "\
Examples:
  phase manifest sign release.cbor --key publisher.key
  phase manifest sign release.cbor --key b.key -o release-b.cbor";

const MERGE_EXAMPLES: &str = "\
Examples:
  phase manifest merge release-a.cbor release-b.cbor -o release.cbor";

const SHOW_EXAMPLES: &str = "\
Examples:
  phase manifest show release.cbor
  phase manifest show release.cbor --json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  phase manifest verify release.cbor --root root.cbor --name stable/x86_64
  phase manifest verify release.cbor --root root.cbor --name stable/x86_64 --at 1800000000";

#[derive(clap::Args)]
pub(crate) struct New {
    /// The channel of the release, for instance stable
    #[arg(long, help_heading = RELEASE)]
    channel: Label,
    /// The architecture of the release, for instance x86_64
    #[arg(long, help_heading = RELEASE)]
    arch: Label,
    /// The version of the release, above that of every earlier release of the name
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = RELEASE)]
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
    /// The name that the manifest must have, as channel/arch
    #[arg(long)]
    name: Name,
    /// The time at which the manifest must be valid, in seconds since 1970. Default: now
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    at: Option<u64>,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::New(args) => new(&args, output),
        Command::Sign(args) => {
            let (envelope, manifest, path) = envelopes::sign::<Manifest>(&args, |manifest| manifest.issued_at)?;
            print(&path, &envelope, &manifest, output)
        }
        Command::Merge(args) => envelopes::merge::<Manifest>(&args, output),
        Command::Show { file } => {
            let envelope = envelopes::read(&file)?;
            let manifest = envelopes::payload(&file, &envelope)?;
            print(&file, &envelope, &manifest, output)
        }
        Command::Verify(args) => verify(&args, output),
    }
}

fn new(args: &New, output: &Output) -> Result<(), Fault> {
    files::check_free(&args.out.path)?;
    let name = Name { channel: args.channel.clone(), arch: args.arch.clone() };
    args.content.check_private([], &args.store.path()?)?;
    let Content { draft, remarks } = args.content.draft(&name, Some(args.version), clock::signing_time()?)?;
    draft.check()?;
    let store = args.store.open()?;
    let manifest = release::with_progress(output, |progress| draft.import(&store, args.version, progress))?;
    let envelope = Envelope::unsigned(&manifest)?;
    files::write_new(&args.out.path, &envelope.encode())?;
    release::show(&remarks, output);
    output.result(
        || {
            let mut json = document(&args.out.path, &envelope, &manifest);
            json["remarks"] = release::remarks_json(&remarks);
            json
        },
        || text(&args.out.path, &envelope, &manifest),
    )?;
    let next = format!("next: phase manifest sign {} --key KEY, once for each signer", args.out.path.display());
    output.remark(&cli::printable(&next));
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
        || format!("verified: {} version {} is valid", manifest.name(), manifest.version),
    )
}

fn print(path: &Path, envelope: &Envelope, manifest: &Manifest, output: &Output) -> Result<(), Fault> {
    output.result(|| document(path, envelope, manifest), || text(path, envelope, manifest))
}

fn text(path: &Path, envelope: &Envelope, manifest: &Manifest) -> String {
    let cid = envelope.cid();
    let (content, signatures) =
        (view::manifest_text(manifest), envelopes::signature_lines(envelope, envelopes::not_verified));
    format!("file       {}\nmanifest   {cid}\n{content}\n{signatures}", path.display())
}

fn document(path: &Path, envelope: &Envelope, manifest: &Manifest) -> Value {
    let mut json = view::manifest_json(manifest);
    json["file"] = json!(path);
    json["cid"] = envelope.cid().to_string().into();
    json["signatures"] = envelopes::json_signatures(envelope).into();
    json
}
