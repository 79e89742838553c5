//! Publishes one file as a release, signed by a new key:
//! `cargo run -p phase-core --example publish -- STORE NAME FILE ROOT`
//!
//! `STORE` is the folder of the store; `NAME` is a name such as `stable/x86_64`. The example writes the signed trust
//! root, which clients need, to the file `ROOT`.

use std::error::Error;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use phase_core::{Draft, Envelope, FileStore, Name, Publisher, ReleaseFile, SigningKey, TrustRoot};

/// The lifetime of the release and of the trust root, in seconds: 90 days.
const LIFETIME: u64 = 90 * 24 * 60 * 60;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, name, file, root_file] = arguments.as_slice() else {
        return Err("usage: publish STORE NAME FILE ROOT".into());
    };
    let (name, file) = (name.parse::<Name>()?, PathBuf::from(file));
    #[expect(clippy::disallowed_methods, reason = "only programs read the clock: the library gets the time passed in")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();

    let key = SigningKey::generate()?;
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], now, now + LIFETIME);
    let root = Envelope::signed(&root, [&key])?.encode();
    std::fs::write(root_file, &root)?;

    let filename = file.file_name().and_then(|name| name.to_str()).ok_or("FILE has no file name in UTF-8")?.parse()?;
    let files = vec![ReleaseFile::new("file".parse()?, filename, file)?];
    let draft = Draft::new(&name, files, now, now + LIFETIME);
    let publisher = Publisher::new(&root, vec![key])?;
    let release = publisher.publish(&FileStore::open(store)?, &draft, now, &mut |_| {})?;
    println!("published {} version {}: {}", release.name(), release.manifest().version, release.cid());
    Ok(())
}
