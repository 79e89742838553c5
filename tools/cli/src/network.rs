//! The command-line options that name bootstrap peers, and a function that reads a trust root from a file.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use phase_core::trust::{TrustError, TrustRoot};
use phase_core::{Fails, Failure, MAX_BLOCK_LEN};
use phase_node::bootstrap::{self, BootstrapError, BootstrapSource};
use phase_node::{Multiaddr, PeerId};

use crate::fault::{Fault, FileError};

/// The heading of the network options in `--help`.
pub(super) const NETWORK: &str = "Network options";
/// The heading of the options for serving other peers in `--help`.
pub(super) const SERVING: &str = "Serving options";

/// The environment variable that lists bootstrap peers and URLs of peer lists.
const ADDRESSES_VARIABLE: &str = "PHASE_BOOTSTRAP";
/// The environment variable that names a file with bootstrap peers.
const FILE_VARIABLE: &str = "PHASE_BOOTSTRAP_FILE";

/// The options that name bootstrap peers. They take precedence over the environment variables.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct BootstrapArgs {
    /// A bootstrap peer: an address in libp2p form, /ip4/ADDRESS/tcp/PORT, optionally with /p2p/PEER_ID as the provider
    /// prints it, or the URL of a provider's peer list (http://192.0.2.7:9464/peers); repeatable, or separated by commas
    /// [env: PHASE_BOOTSTRAP]
    ///
    /// DNS names are looked up: /dns4/seed.example.org/tcp/4001, or /dnsaddr/seed.example.org, whose TXT records
    /// contain multiaddrs.
    #[arg(long = "bootstrap", value_name = "ADDR", value_delimiter = ',', help_heading = NETWORK)]
    addresses: Vec<String>,
    /// A file with bootstrap peers (TOML, [[bootstrap]] with peer_id and address, or url), used if --bootstrap is not
    /// given [env: PHASE_BOOTSTRAP_FILE]
    ///
    /// Without this option, bootstrap-nodes.toml in the working directory is used if it exists, otherwise the list that
    /// is built into this program.
    #[arg(long, value_name = "FILE", help_heading = NETWORK)]
    bootstrap_file: Option<PathBuf>,
}

impl BootstrapArgs {
    /// Returns bootstrap peers and URLs of peer lists. They come from the options, or else from the environment
    /// variables, or else from the file `bootstrap-nodes.toml` or the list in this program. The result may be empty.
    ///
    /// # Errors
    /// If an address is malformed, or the file cannot be read.
    pub(super) fn choose(&self) -> Result<Vec<BootstrapSource>, Fault> {
        self.choose_with(|variable| std::env::var_os(variable))
    }

    fn choose_with(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<Vec<BootstrapSource>, Fault> {
        let mut given = parse(self.addresses.iter().map(String::as_str))?;
        let mut file = self.bootstrap_file.clone().filter(|path| !path.as_os_str().is_empty());
        if given.is_empty() && file.is_none() {
            // An empty variable counts as not set.
            given = parse(environment(ADDRESSES_VARIABLE).unwrap_or_default().to_string_lossy().split(','))?;
            file = environment(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        }
        Ok(bootstrap::choose(&given, file.as_deref())?)
    }
}

fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<BootstrapSource>, Fault> {
    let texts = texts.map(str::trim).filter(|text| !text.is_empty());
    texts.map(parse_source).collect()
}

/// Parses a peer or another source of bootstrap peers.
pub(super) fn parse_source<T: FromStr<Err = BootstrapError>>(text: &str) -> Result<T, Fault> {
    text.parse::<T>().map_err(|error| match error {
        BootstrapError::Address { .. } => Fault::new(Failure::Usage, address_error(text)),
        error => error.into(),
    })
}

/// Parses a multiaddr, for clap.
///
/// # Errors
/// The text of [`address_error`].
pub fn parse_address(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|_| address_error(text))
}

/// Parses a peer id, for clap.
///
/// # Errors
/// A message that shows the form of a peer id.
pub fn parse_peer_id(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|_| format!("{text:?} is not a peer id: expected text such as 12D3KooW…"))
}

/// Returns the error message for a text that is not a multiaddr. It names the peer id in the text if that is malformed.
pub fn address_error(text: &str) -> String {
    let peer = text.rsplit_once("/p2p/").map(|(_, peer)| parse_peer_id(peer));
    if let Some(Err(error)) = peer {
        return error;
    }
    let example = match text.parse() {
        Ok(SocketAddr::V4(socket)) => format!("/ip4/{}/tcp/{}", socket.ip(), socket.port()),
        Ok(SocketAddr::V6(socket)) => format!("/ip6/{}/tcp/{}", socket.ip(), socket.port()),
        Err(_) => "/ip4/127.0.0.1/tcp/4001".to_owned(),
    };
    format!("{text:?} is not a multiaddr: expected for instance {example}")
}

/// Reads a trust root, and checks that it is signed by as many of its own root keys as its threshold requires.
///
/// # Errors
/// If the file cannot be read or is not a trust root, or if fewer keys than its threshold have signed it.
pub fn read_root(path: &Path) -> Result<TrustRoot, Fault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::of("read the trust root", path))?;
    file.take(MAX_BLOCK_LEN as u64 + 1).read_to_end(&mut bytes).map_err(FileError::of("read the trust root", path))?;
    if bytes.len() > MAX_BLOCK_LEN {
        return Err(Fault::new(
            Failure::Input,
            format!("{} is too long for a trust root (at most 1 MiB)", path.display()),
        ));
    }
    TrustRoot::decode_trusted(&bytes).map_err(|error| {
        let failure = match &error {
            // A file that is not an envelope is an input error. A root that does not verify is untrusted.
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
    struct CommandLine {
        #[command(flatten)]
        bootstrap: BootstrapArgs,
    }

    #[test]
    fn addresses_may_be_listed_or_repeated_and_empty_ones_are_skipped() {
        let list = "/ip4/127.0.0.1/tcp/1,/dnsaddr/seed.test";
        let url = "http://127.0.0.1:2/peers";
        let line = CommandLine::parse_from(["x", "--bootstrap", list, "--bootstrap", "", "--bootstrap", url]);
        let sources = line.bootstrap.choose().unwrap();
        assert_eq!(
            sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["/ip4/127.0.0.1/tcp/1", "/dnsaddr/seed.test", url]
        );
    }

    #[test]
    fn the_command_line_takes_precedence_over_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let list = |name: &str, port: u16| {
            let path = folder.path().join(name);
            let peer = "12D3KooWGRUvKK9kW6wqCw5E3mbGZpDYBAt7sQJTzEYLnTvTgpVk";
            let text = format!("[[bootstrap]]\npeer_id = \"{peer}\"\naddress = \"/ip4/127.0.0.1/tcp/{port}\"\n");
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (ours, theirs) = (list("ours.toml", 3), list("theirs.toml", 4));
        let environment = |variable: &str| match variable {
            ADDRESSES_VARIABLE => Some("/ip4/127.0.0.1/tcp/2".into()),
            _ => Some(OsString::from(&theirs)),
        };
        let files_only = |variable: &str| Some(OsString::from(&theirs)).filter(|_| variable == FILE_VARIABLE);
        let port = |arguments: &[&str], environment: &dyn Fn(&str) -> Option<OsString>| {
            let line = CommandLine::parse_from([&["x"], arguments].concat());
            let sources = line.bootstrap.choose_with(environment).unwrap();
            assert_eq!(sources.len(), 1);
            sources[0].to_string().split('/').nth(4).unwrap().to_owned()
        };
        assert_eq!(port(&["--bootstrap", "/ip4/127.0.0.1/tcp/1", "--bootstrap-file", &ours], &environment), "1");
        assert_eq!(port(&["--bootstrap-file", &ours], &environment), "3");
        assert_eq!(port(&[], &environment), "2");
        assert_eq!(port(&[], &files_only), "4");
    }

    #[test]
    fn a_malformed_address_is_a_usage_error_and_a_missing_file_an_input_error() {
        for address in ["localhost:1", "https://localhost/peers", "http://localhost", "/dns4/localhost"] {
            let line = CommandLine::parse_from(["x", "--bootstrap", address]);
            assert_eq!(line.bootstrap.choose().unwrap_err().failure(), Failure::Usage, "{address}");
        }
        let line = CommandLine::parse_from(["x", "--bootstrap-file", "/nonexistent/list.toml"]);
        assert_eq!(line.bootstrap.choose().unwrap_err().failure(), Failure::Input);
    }

    #[test]
    fn the_error_for_a_malformed_address_shows_the_right_form() {
        for (text, part) in [
            ("127.0.0.1:4010", "expected for instance /ip4/127.0.0.1/tcp/4010"),
            ("localhost", "\"localhost\" is not a multiaddr: expected for instance /ip4/"),
            ("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGarbage", "\"12D3KooWGarbage\" is not a peer id"),
        ] {
            let error = parse_address(text).unwrap_err();
            assert!(error.contains(part), "{error}");
            let line = CommandLine::parse_from(["x", "--bootstrap", text]);
            assert_eq!(line.bootstrap.choose().unwrap_err().chain(), error);
        }
    }

    #[test]
    fn the_error_for_a_missing_root_names_the_file() {
        let fault = read_root(Path::new("/nonexistent/root.cbor")).unwrap_err();
        assert_eq!(fault.failure(), Failure::Input);
        assert!(fault.chain().contains("/nonexistent/root.cbor"), "{}", fault.chain());
    }
}
