//! The command-line options that limit how much this node sends to other peers.

use clap::Args;
use phase_transfer::server;
use phase_units::parse_rate;

use crate::network::SERVING;

/// The options that limit how fast this node sends chunks to other peers.
#[derive(Clone, Debug, Default, Args)]
pub struct UploadArgs {
    /// Send chunks no faster than this, for instance 50Mbit or 5MB: a whole number of kbit, Mbit, Gbit, kB, MB or GB
    /// per second. Default: no limit
    ///
    /// bit means bits, B means bytes, k is 10^3, M is 10^6, G is 10^9. Headers are not counted. After a pause, the
    /// bytes of 100 ms are sent at once, or 1 MiB if that is more.
    #[arg(long, value_name = "RATE", value_parser = parse_rate, allow_hyphen_values = true, help_heading = SERVING)]
    upload_limit: Option<u64>,
}

impl UploadArgs {
    /// Returns the server configuration with these limits, and the default values for everything else.
    pub fn configure(&self) -> server::Config {
        let mut config = server::Config::default();
        config.upload.max_rate = self.upload_limit;
        config
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        upload: UploadArgs,
    }

    #[test]
    fn the_upload_limit_is_the_rate_limit_of_the_upload_queue() {
        let limit = |line: &[&str]| CommandLine::parse_from(line).upload.configure().upload.max_rate;
        assert_eq!(limit(&["x"]), None);
        assert_eq!(limit(&["x", "--upload-limit", "50Mbit"]), Some(6_250_000));
        assert!(CommandLine::try_parse_from(["x", "--upload-limit", "50"]).is_err());
    }
}
