//! `phase publish`: publishes a release in a store, from which a provider serves it.
//!
//! [`phase_core::publish`] does the work. This module parses the arguments, shows the progress and prints the result.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phase_cli::{self as cli, ByteRate, Bytes, EXIT_CODES, Fault};
use phase_core::manifest::Manifest;
use phase_core::publish::{PublishError, Publisher, Release, Remark};
use phase_core::{Failure, Label, Name};
use serde_json::json;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::release::{self, Content, ContentArgs, RELEASE};
use crate::{envelopes, files, key, progress, view};

const EXAMPLES: &str = "\
Examples:
  phase publish --store store --root root.cbor --key publisher.key --channel stable --arch x86_64 \\
      --artifact kernel=vmlinuz --artifact initramfs=initrd.img --cmdline 'console=ttyS0'
  phase publish --store store --root root.cbor --key publisher.key --channel stable --arch any --dir files
  phase publish --store store --root root.cbor --key publisher.key --channel stable --arch any --artifact rootfs:disk.img=-
  phase publish --store store --root root.cbor --key publisher.key --manifest release.cbor

A provider that runs on the store announces the release within a second.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// The trust root of the clients
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// A secret key to sign with; repeatable. The key signs the manifest, the pointer record or both, depending on what
    /// the trust root permits it to sign
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Publish this signed manifest, whose artifacts are already in the store
    #[arg(long, value_name = "FILE", conflicts_with_all = ["content", "channel", "arch", "version"])]
    manifest: Option<PathBuf>,
    /// The channel of the release, for instance stable
    #[arg(long, required_unless_present = "manifest", help_heading = RELEASE)]
    channel: Option<Label>,
    /// The architecture of the release, for instance x86_64
    #[arg(long, required_unless_present = "manifest", help_heading = RELEASE)]
    arch: Option<Label>,
    /// The version of the release. Default: one above the version in the store
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = RELEASE)]
    version: Option<u64>,
    #[command(flatten)]
    content: ContentArgs,
    /// A URL from which clients without the DHT can fetch the release over HTTP; repeatable
    #[arg(long, value_name = "URL", help_heading = RELEASE)]
    url: Vec<String>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    cli::read_root(&args.root)?;
    let publisher =
        Publisher::new(&files::read(&args.root)?, key::load_secrets(&args.key)?)?.with_urls(args.url.clone());
    let (release, imported) = match &args.manifest {
        Some(path) => (publish_signed(&publisher, args, path)?, None),
        None => {
            let (release, imported) = publish_files(&publisher, args, output)?;
            (release, Some(imported))
        }
    };
    print(&publisher, &release, imported.as_ref(), output)
}

/// What is to be said about files that were published.
struct Imported {
    /// The time that importing, signing and publishing took.
    elapsed: Duration,
    remarks: Vec<Remark>,
}

/// Publishes files.
fn publish_files(publisher: &Publisher, args: &Args, output: &Output) -> Result<(Release, Imported), Fault> {
    let missing = || Fault::new(Failure::Usage, "the release has no name: give --channel and --arch");
    let (channel, arch) = args.channel.clone().zip(args.arch.clone()).ok_or_else(missing)?;
    let now = cli::now();
    args.content.check_private(args.key.iter().map(PathBuf::as_path), &args.store.path()?)?;
    let Content { draft, remarks } = args.content.draft(&Name { channel, arch }, args.version, now)?;
    // Check the files and the keys before the store is opened, because opening the store may create it.
    publisher.check(&draft, now).map_err(explained)?;
    let store = args.store.open()?;
    let began = progress::now();
    let release = release::with_progress(output, |progress| publisher.publish(&store, &draft, now, progress));
    let release = release.map_err(explained)?;
    release::show(&remarks, output);
    Ok((release, Imported { elapsed: progress::now() - began, remarks }))
}

/// Publishes a manifest that is already signed.
fn publish_signed(publisher: &Publisher, args: &Args, path: &Path) -> Result<Release, Fault> {
    let store = args.store.open_existing()?;
    let envelope = envelopes::read(path)?;
    envelopes::payload::<Manifest>(path, &envelope)?;
    publisher.publish_signed(&store, envelope, cli::now()).map_err(explained)
}

/// Converts an error from publishing, and adds a hint about the next step for the user of this command.
fn explained(error: PublishError) -> Fault {
    let hint = match &error {
        PublishError::Pointer(_) => "give a key with --key that the root lists for pointer records of this channel",
        PublishError::ClockBeforeRoot { .. } => "set the clock of this machine, and run the command again",
        PublishError::NotImported { .. } => "publish from the store that `phase manifest new` imported the files into",
        _ => return error.into(),
    };
    Fault::from(error).hint(hint)
}

fn print(publisher: &Publisher, release: &Release, imported: Option<&Imported>, output: &Output) -> Result<(), Fault> {
    let elapsed = imported.map(|imported| imported.elapsed);
    let (manifest, cid) = (release.manifest(), release.cid());
    let bytes: u64 = manifest.artifacts.iter().map(|entry| entry.size).sum();
    output.result(
        || {
            json!({
                "name": release.name().to_string(),
                "version": manifest.version,
                "release": manifest.release,
                "manifest": cid.to_string(),
                "root": publisher.root_cid().to_string(),
                "expires_at": manifest.expires_at,
                "artifacts": view::entries_json(&manifest.artifacts),
                "imported_bytes": elapsed.map(|_| bytes),
                "seconds": elapsed.map(|elapsed| elapsed.as_secs_f64()),
                "remarks": release::remarks_json(imported.map_or(&[], |imported| &imported.remarks)),
            })
        },
        || {
            let head = format!("published {} version {}", release.name(), manifest.version);
            let speed = elapsed.map(|elapsed| {
                let time = cli::seconds(elapsed.as_secs_f64());
                // The rate of a few bytes means nothing.
                let rate = if bytes < 1 << 20 { String::new() } else { format!(", {}", ByteRate::of(bytes, elapsed)) };
                format!("\nimported   {} in {time}{rate}", Bytes(bytes))
            });
            format!(
                "{head}\nmanifest   {cid}\n{}{}",
                view::entries_text(&manifest.artifacts),
                speed.unwrap_or_default()
            )
        },
    )
}
