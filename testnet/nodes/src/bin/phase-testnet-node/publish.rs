//! Publishes a generated release, for testnets that a person starts by hand.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use phase_lab::publish;
use phase_scenario::Size;

/// Publish a file of random bytes as testnet/any into stores; does nothing if the file for the trust root exists
/// already
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// The size of the file
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    size: Size,
    /// The file to which the trust root for clients is written
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// A provider's store; repeatable
    #[arg(long = "store", value_name = "DIR", required = true)]
    stores: Vec<PathBuf>,
}

impl Publish {
    #[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
    pub(crate) fn run(self) -> Result<(), String> {
        if self.root.exists() {
            println!("{} exists: nothing to do", self.root.display());
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        publish(self.size.0, now, &self.root, &self.stores).map_err(|error| error.to_string())?;
        let stores = if self.stores.len() == 1 { "store" } else { "stores" };
        println!("published {} in {} {stores}", self.size, self.stores.len());
        Ok(())
    }
}
