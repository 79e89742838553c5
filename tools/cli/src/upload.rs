//! The options about what others are sent.

use clap::Args;
use phase_transfer::server;
use phase_units::parse_rate;

/// What others are sent.
#[derive(Clone, Debug, Default, Args)]
pub struct UploadArgs {
    /// Send chunks no faster than this, for instance 50Mbit or 5MB: a whole number of kbit, Mbit, Gbit, kB, MB or GB a
    /// second. Default: as fast as they are taken
    ///
    /// bit is bits, B is bytes, k is thousand, M million, G milliard (10^9). Headers are not counted. After a pause, what
    /// goes out in 100 ms is sent at once, or 1 MiB if that is more.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    upload_limit: Option<u64>,
}

impl UploadArgs {
    /// What the options say, with defaults for the rest.
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
    struct Line {
        #[command(flatten)]
        upload: UploadArgs,
    }

    #[test]
    fn the_limit_is_the_queue_s() {
        let limit = |line: &[&str]| Line::parse_from(line).upload.configure().upload.max_rate;
        assert_eq!(limit(&["x"]), None);
        assert_eq!(limit(&["x", "--upload-limit", "50Mbit"]), Some(6_250_000));
        assert!(Line::try_parse_from(["x", "--upload-limit", "50"]).is_err());
    }
}
