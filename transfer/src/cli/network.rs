//! The options about the network, and the trust root.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use phase_core::trust::{TrustError, TrustRoot};
use phase_core::{Failure, MAX_BLOCK_LEN};

use super::fault::{Fault, FileError};
use crate::net::bootstrap::{self, BootstrapPeer};

/// Where the first peers come from.
#[derive(Clone, Debug, Default, Args)]
pub struct BootstrapArgs {
    /// A first peer, as multiaddr: /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…; repeatable, or separated by commas
    #[arg(long = "bootstrap", value_name = "ADDR", value_delimiter = ',', env = "PHASE_BOOTSTRAP")]
    addresses: Vec<String>,
    /// A list of first peers (TOML, [[bootstrap]] with peer_id and address), used if none is given directly
    ///
    /// Without it, bootstrap-nodes.toml in the working directory is used if there is one, else the list that is
    /// part of this program.
    #[arg(long, value_name = "FILE", env = "PHASE_BOOTSTRAP_FILE")]
    bootstrap_file: Option<PathBuf>,
}

impl BootstrapArgs {
    /// The peers to use; none if no source names any.
    ///
    /// # Errors
    /// A malformed address, or a list that cannot be read.
    pub fn choose(&self) -> Result<Vec<BootstrapPeer>, Fault> {
        // An empty environment variable means none.
        let texts = self.addresses.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        let given: Vec<BootstrapPeer> = texts.map(str::parse).collect::<Result<_, _>>()?;
        let file = self.bootstrap_file.as_deref().filter(|path| !path.as_os_str().is_empty());
        Ok(bootstrap::choose(&given, file)?)
    }
}

/// Reads a trust root and checks that it is signed by its own keys.
///
/// # Errors
/// A file that cannot be read or is none; signatures short of the threshold.
pub fn read_root(path: &Path) -> Result<TrustRoot, Fault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::of("read the trust root", path))?;
    file.take(MAX_BLOCK_LEN as u64 + 1).read_to_end(&mut bytes).map_err(FileError::of("read the trust root", path))?;
    if bytes.len() > MAX_BLOCK_LEN {
        return Err(Fault::new(Failure::Input, format!("{} is too long for a trust root", path.display())));
    }
    TrustRoot::decode_trusted(&bytes).map_err(|error| {
        let failure = match &error {
            // A file that is no root at all is not a matter of trust.
            TrustError::Envelope(error) => error.failure(),
            _ => error.failure(),
        };
        Fault::new(failure, format!("{} cannot be trusted: {}", path.display(), Fault::from(error).chain()))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bootstrap: BootstrapArgs,
    }

    #[test]
    fn addresses_are_listed_or_repeated_and_empty_ones_skipped() {
        let line =
            Line::parse_from(["x", "--bootstrap", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2", "--bootstrap", ""]);
        let peers = line.bootstrap.choose().unwrap();
        assert_eq!(
            peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]
        );
    }

    #[test]
    fn a_malformed_address_is_a_usage_error_and_a_missing_file_an_input_error() {
        let line = Line::parse_from(["x", "--bootstrap", "localhost:1"]);
        assert_eq!(line.bootstrap.choose().unwrap_err().failure(), Failure::Usage);
        let line = Line::parse_from(["x", "--bootstrap-file", "/nonexistent/list.toml"]);
        assert_eq!(line.bootstrap.choose().unwrap_err().failure(), Failure::Input);
    }

    #[test]
    fn a_missing_root_names_the_file() {
        let fault = read_root(Path::new("/nonexistent/root.cbor")).unwrap_err();
        assert_eq!(fault.failure(), Failure::Input);
        assert!(fault.chain().contains("/nonexistent/root.cbor"), "{}", fault.chain());
    }
}
