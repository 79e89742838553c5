//! Makes up a release, for networks that are started by hand.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use phase_lab::publish;
use phase_scenario::Size;

/// Publish a file of noise as testnet/any into stores, unless there is a trust root already
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// How large the file is
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    size: Size,
    /// Where the trust root goes that clients need
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
            println!("{} is there: nothing to do", self.root.display());
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        publish(self.size.0, now, &self.root, &self.stores).map_err(|error| error.to_string())?;
        println!("published {} in {} stores", self.size, self.stores.len());
        Ok(())
    }
}
