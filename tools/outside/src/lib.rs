//! Publishes, serves and fetches a file with only Phase's libraries.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use phase_client::{Client, FetchOptions, ResolveOptions, Trust};
use phase_core::handover::{Mode, Target, export};
use phase_core::{Draft, Envelope, FileStore, Name, Publisher, ReleaseFile, SigningKey, TrustRoot, TrustedTime};
use phase_node::{NodeConfig, Role};
use phase_provider::{Provider, ProviderConfig};

/// Publishes a file in a store, serves the file, fetches it into a second store, and exports it. All files and stores
/// are in `folder`.
///
/// # Errors
/// If any step fails.
///
/// # Panics
/// If the fetched file differs from the published one.
pub async fn publish_serve_and_fetch(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (file, seed, here) = (folder.join("vmlinuz"), folder.join("seed"), folder.join("here"));
    let (now, later) = (1_700_000_000, 1_800_000_000);
    std::fs::write(&file, vec![7; 3 << 20])?;

    let (name, key): (Name, _) = ("stable/x86_64".parse()?, SigningKey::generate()?);
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, later);
    let signed = Envelope::signed(&root, [&key])?.encode();
    let draft = Draft::new(&name, vec![ReleaseFile::new("kernel".parse()?, "vmlinuz".parse()?, &file)?], now, later);
    Publisher::new(&signed, vec![key])?.publish(&FileStore::open(&seed)?, &draft, now, &mut |_| {})?;

    let node = NodeConfig::in_dht(Role::Server, vec!["/ip4/127.0.0.1/tcp/0".parse()?], Vec::new());
    let provider = Provider::start(ProviderConfig::new(seed, node)).await?;
    let first =
        provider.addresses().await.iter().map(|address| address.to_string().parse()).collect::<Result<_, _>>()?;

    let store = Arc::new(FileStore::open(&here)?);
    let client = Client::start(store.clone(), NodeConfig::in_dht(Role::Client, Vec::new(), first)).await?;
    let trust = Trust { root, time: TrustedTime(now) };
    let release = client.resolve(&name, &trust, ResolveOptions::default()).await?;
    client.fetch(&release, FetchOptions::default()).finish().await?;
    export(store.as_ref(), &release.manifest.artifacts, &Target::Folder(folder.join("out")), Mode::Copy)?;
    assert_eq!(std::fs::read(folder.join("out/vmlinuz"))?, std::fs::read(file)?);
    client.stop().await;
    provider.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_file_is_published_served_and_fetched_with_only_the_libraries() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        super::publish_serve_and_fetch(folder.path()).await.expect("every step succeeds");
    }
}
