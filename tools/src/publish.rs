//! `phase publish`: makes a release visible to whoever serves the store.
//!
//! The library publishes ([`phase_core::publish`]); here are the arguments, the progress, and what the user is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phase_cli::{self as cli, ByteRate, Bytes, EXIT_CODES, Fault};
use phase_core::manifest::Manifest;
use phase_core::publish::{PublishError, Publisher, Release};
use phase_core::{Failure, Label, Name};
use serde_json::json;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::release::{self, ContentArgs};
use crate::{envelopes, files, key, progress, view};

const EXAMPLES: &str = "\
Examples:
  phase publish --store /srv/phase --root root.cbor --key publisher.key --channel stable --arch x86_64 \\
      --artifact kernel=vmlinuz --artifact initramfs=initrd.img --cmdline 'console=ttyS0'
  phase publish --store /srv/phase --root root.cbor --key publisher.key --channel stable --arch any --dir files
  phase publish --store /srv/phase --root root.cbor --key online.key --manifest release.cbor

A provider that runs on the store notices the release within a second.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// The trust root that clients have
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// A secret key to sign with, the manifest where it may, the pointer record where it may; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// Publish this manifest, which is signed already; its artifacts are in the store
    #[arg(long, value_name = "FILE", conflicts_with_all = ["content", "channel", "arch", "version"])]
    manifest: Option<PathBuf>,
    /// The channel it is a release of, for instance stable
    #[arg(long, required_unless_present = "manifest")]
    channel: Option<Label>,
    /// The architecture it is for, for instance x86_64
    #[arg(long, required_unless_present = "manifest")]
    arch: Option<Label>,
    /// Its number. Default: one above the release in the store
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    content: ContentArgs,
    /// Where clients without the DHT can get the release over HTTP; repeatable
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    cli::read_root(&args.root)?;
    let publisher =
        Publisher::new(&files::read(&args.root)?, key::load_secrets(&args.key)?)?.with_urls(args.url.clone());
    let (release, imported) = match &args.manifest {
        Some(path) => (adopt(&publisher, args, path)?, None),
        None => {
            let (release, elapsed) = make(&publisher, args, output)?;
            (release, Some(elapsed))
        }
    };
    tell(&publisher, &release, imported, output)
}

/// Publishes files. Returns for how long they were imported, signed and made visible.
fn make(publisher: &Publisher, args: &Args, output: &Output) -> Result<(Release, Duration), Fault> {
    let missing = || Fault::new(Failure::Usage, "--channel and --arch are needed");
    let (channel, arch) = args.channel.clone().zip(args.arch.clone()).ok_or_else(missing)?;
    let now = cli::now();
    let draft = args.content.draft(&Name { channel, arch }, args.version)?;
    // Before the store, which opening may create: what is wrong with the files or the keys.
    publisher.check(&draft, now).map_err(explained)?;
    let store = args.store.open()?;
    let began = progress::now();
    let release = release::with_progress(output, |progress| publisher.publish(&store, &draft, now, progress));
    Ok((release.map_err(explained)?, progress::now() - began))
}

/// Publishes a manifest that was signed elsewhere.
fn adopt(publisher: &Publisher, args: &Args, path: &Path) -> Result<Release, Fault> {
    let store = args.store.open_existing()?;
    let envelope = envelopes::read(path)?;
    envelopes::payload::<Manifest>(path, &envelope)?;
    publisher.publish_signed(&store, envelope, cli::now()).map_err(explained)
}

/// An error with what the user of this command may do about it.
fn explained(error: PublishError) -> Fault {
    let hint = match &error {
        PublishError::Pointer(_) => "give a key with --key that the root lists for pointer records of this channel",
        PublishError::NotImported { .. } => "publish from the store that `phase manifest new` imported the files into",
        _ => return error.into(),
    };
    Fault::from(error).hint(hint)
}

fn tell(publisher: &Publisher, release: &Release, elapsed: Option<Duration>, output: &Output) -> Result<(), Fault> {
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
            })
        },
        || {
            let head = format!("published {} version {}", release.name(), manifest.version);
            let speed = elapsed.map(|elapsed| {
                let rate = ByteRate::of(bytes, elapsed);
                format!("\nimported   {} in {:.2} s, {rate}", Bytes(bytes), elapsed.as_secs_f64())
            });
            format!(
                "{head}\nmanifest   {cid}\n{}{}",
                view::entries_text(&manifest.artifacts),
                speed.unwrap_or_default()
            )
        },
    )
}
