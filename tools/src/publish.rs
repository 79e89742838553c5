//! `phase publish`: makes a release visible to whoever serves the store.
//!
//! Everything is verified against the trust root as a client would do it, before the long import and again before the
//! name points to the release. Setting the ref is the last step and happens at once: a crash before it leaves the
//! release before.

use std::path::PathBuf;

use phase_cli::{self as cli, ByteRate, Bytes, Fault};
use phase_core::codec::V1;
use phase_core::envelope::Envelope;
use phase_core::failure::EXIT_CODES;
use phase_core::manifest::Manifest;
use phase_core::pointer::Pointer;
use phase_core::store::{FileStore, Store};
use phase_core::trust::{TrustRoot, TrustedTime};
use phase_core::{Cid, Failure, Label, Name, SigningKey};
use serde_json::json;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::release::{ContentArgs, Imported};
use crate::{envelopes, files, key, view};

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
    let root = cli::read_root(&args.root)?;
    let publisher = Publisher { root, keys: key::load_secrets(&args.key)?, urls: args.url.clone(), now: cli::now() };
    let (store, release, imported) = match &args.manifest {
        Some(path) => {
            let store = args.store.open_existing()?;
            let release = publisher.adopt(&store, path)?;
            (store, release, None)
        }
        None => {
            let (store, release, imported) = publisher.make(args, output)?;
            (store, release, Some(imported))
        }
    };
    let root_cid = make_visible(&store, &release, &files::read(&args.root)?)?;
    tell(&release, &root_cid, imported.as_ref(), output)
}

/// Signs, and checks what is signed.
struct Publisher {
    root: TrustRoot,
    keys: Vec<SigningKey>,
    urls: Vec<String>,
    now: u64,
}

/// A release that a client with this root accepts.
struct Release {
    name: Name,
    manifest: Manifest,
    envelope: Envelope,
    pointer: Envelope,
}

impl Publisher {
    /// Imports the files and signs a manifest of them.
    fn make(&self, args: &Args, output: &Output) -> Result<(FileStore, Release, Imported), Fault> {
        let missing = || Fault::new(Failure::Usage, "--channel and --arch are needed");
        let (channel, arch) = args.channel.clone().zip(args.arch.clone()).ok_or_else(missing)?;
        let name = Name { channel, arch };
        // Before the store, which opening may create: what is wrong with the files or the keys.
        let plan = args.content.plan(&name, args.version.unwrap_or(1))?;
        self.sign(plan.draft())?;
        let store = args.store.open()?;
        let held = held(&store, &name)?.map_or(0, |pointer| pointer.version);
        let version = match args.version {
            Some(version) if version <= held => return Err(not_newer(&name, version, held)),
            Some(version) => version,
            None => held.checked_add(1).ok_or_else(|| not_newer(&name, held, held))?,
        };
        let imported = plan.renumbered(version).import(&store, output)?;
        let release = self.sign(&imported.manifest)?;
        Ok((store, release, imported))
    }

    /// Takes a manifest that was signed elsewhere.
    fn adopt(&self, store: &FileStore, path: &std::path::Path) -> Result<Release, Fault> {
        let envelope = envelopes::read(path)?;
        let name = envelopes::payload::<Manifest>(path, &envelope)?.name();
        let release = self.point(envelope, &name)?;
        let manifest = &release.manifest;
        if let Some(held) = held(store, &name)? {
            // The same release again renews its pointer record.
            let is_same = held.manifest == Some(release.envelope.cid());
            if manifest.version < held.version || (manifest.version == held.version && !is_same) {
                return Err(not_newer(&name, manifest.version, held.version));
            }
        }
        for entry in &manifest.artifacts {
            let artifact = store.artifact(&entry.cid)?;
            if !artifact.is_some_and(|artifact| entry.agrees_with(artifact.index())) {
                let message = format!("{} ({}) is not in the store", entry.filename, entry.cid);
                return Err(Fault::new(Failure::Input, message)
                    .hint("publish from the store that `phase manifest new` imported the files into"));
            }
        }
        Ok(release)
    }

    /// Signs a manifest with every key.
    fn sign(&self, manifest: &Manifest) -> Result<Release, Fault> {
        let mut envelope = Envelope::unsigned(manifest)?;
        for key in &self.keys {
            envelope.sign::<Manifest>(key)?;
        }
        self.point(envelope, &manifest.name())
    }

    /// Verifies a manifest, and signs a pointer record to it with the keys that may.
    fn point(&self, envelope: Envelope, name: &Name) -> Result<Release, Fault> {
        let at = TrustedTime(self.now);
        let manifest = self.root.verify_manifest(&envelope, name, at)?;
        let mut pointer = Envelope::unsigned(&Pointer {
            v: V1,
            name: name.clone(),
            manifest: Some(envelope.cid()),
            version: manifest.version,
            issued_at: self.now,
            // Providers renew the record in the DHT without the key: it lives as long as the release.
            expires_at: manifest.expires_at,
            urls: self.urls.clone(),
        })?;
        let may_point = |key: &&SigningKey| {
            self.root.channels.get(&name.channel).is_some_and(|role| role.pointer_keys.contains(&key.id()))
        };
        for key in self.keys.iter().filter(may_point) {
            pointer.sign::<Pointer>(key)?;
        }
        self.root.verify_pointer(&pointer, name, at).map_err(|error| {
            Fault::from(error).hint("give a key with --key that the root lists for pointer records of this channel")
        })?;
        Ok(Release { name: name.clone(), manifest, envelope, pointer })
    }
}

/// The pointer that the store has.
fn held(store: &FileStore, name: &Name) -> Result<Option<Pointer>, Fault> {
    let envelope = store.pointer(name)?;
    Ok(envelope.map(|envelope| envelope.payload_unverified()).transpose()?)
}

fn not_newer(name: &Name, version: u64, held: u64) -> Fault {
    Fault::new(Failure::Input, format!("version {version} of {name} is not above version {held}, which the store has"))
        .hint("clients never go back: give a higher version to the older content as well")
}

/// Puts the blocks, then sets the ref. Returns the root's CID.
fn make_visible(store: &FileStore, release: &Release, root: &[u8]) -> Result<Cid, Fault> {
    let root_cid = Cid::of_block(root);
    store.put_block(&root_cid, root)?;
    store.put_block(&release.envelope.cid(), &release.envelope.encode())?;
    // Another publisher may have been faster; a client would see it as a step back.
    if let Some(held) = held(store, &release.name)?.filter(|held| held.version > release.manifest.version) {
        return Err(not_newer(&release.name, release.manifest.version, held.version));
    }
    store.set_ref(&release.name, &release.pointer)?;
    Ok(root_cid)
}

fn tell(release: &Release, root: &Cid, imported: Option<&Imported>, output: &Output) -> Result<(), Fault> {
    let manifest = &release.manifest;
    let cid = release.envelope.cid();
    output.result(
        || {
            json!({
                "name": release.name.to_string(),
                "version": manifest.version,
                "release": manifest.release,
                "manifest": cid.to_string(),
                "root": root.to_string(),
                "expires_at": manifest.expires_at,
                "artifacts": view::entries_json(&manifest.artifacts),
                "imported_bytes": imported.map(|imported| imported.bytes),
                "seconds": imported.map(|imported| imported.elapsed.as_secs_f64()),
            })
        },
        || {
            let head = format!("published {} version {}", release.name, manifest.version);
            let speed = imported.map(|Imported { bytes, elapsed, .. }| {
                let rate = ByteRate::of(*bytes, *elapsed);
                format!("\nimported   {} in {:.2} s, {rate}", Bytes(*bytes), elapsed.as_secs_f64())
            });
            format!(
                "{head}\nmanifest   {cid}\n{}{}",
                view::entries_text(&manifest.artifacts),
                speed.unwrap_or_default()
            )
        },
    )
}
