//! Fetches files over plain HTTP one after another, as curl does, and computes their SHA-256 while they arrive.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The number of bytes that are read from the connection at a time.
const PART: usize = 64 << 10;
/// The number of fetched bytes between two progress events.
const PROGRESS_STEP: u64 = 256 << 10;

/// Fetch files over HTTP into a folder
#[derive(clap::Args)]
pub(crate) struct HttpFetch {
    /// The folder for the files
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The URLs of the files; the last part of a URL becomes the file's name
    #[arg(required = true)]
    urls: Vec<String>,
}

impl HttpFetch {
    #[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
    pub(crate) fn run(self) -> Result<(), String> {
        let begun = Instant::now();
        let (mut bytes, mut sums) = (0, Vec::new());
        for url in &self.urls {
            sums.push(self.fetch(url, &mut bytes)?);
        }
        print_event("fetched", json!({ "bytes": bytes, "seconds": begun.elapsed().as_secs_f64(), "sha256": sums }));
        Ok(())
    }

    /// Fetches one file and adds its length to `bytes`. Returns its SHA-256.
    fn fetch(&self, url: &str, bytes: &mut u64) -> Result<String, String> {
        let name = url
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| format!("{url} does not end with a file name"))?;
        let failed = |error: &dyn std::fmt::Display| format!("cannot fetch {url}: {error}");
        let answer = ureq::get(url).call().map_err(|error| failed(&error))?;
        let mut body = answer.into_body().into_reader();
        let path = self.output.join(name);
        let mut file = File::create(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let (mut part, mut hash) = (vec![0; PART], Sha256::new());
        loop {
            let len = body.read(&mut part).map_err(|error| failed(&error))?;
            if len == 0 {
                return Ok(hex::encode(hash.finalize()));
            }
            hash.update(&part[..len]);
            file.write_all(&part[..len]).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            let before = *bytes;
            *bytes += len as u64;
            if before / PROGRESS_STEP != *bytes / PROGRESS_STEP {
                print_event("progress", json!({ "verified": *bytes }));
            }
        }
    }
}

/// Prints an event in the format of `phase-client --events`.
#[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
fn print_event(event: &str, more: serde_json::Value) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let mut line = json!({ "event": event, "time": time });
    if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    println!("{line}");
}
