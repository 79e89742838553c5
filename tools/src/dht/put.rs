//! `phase dht put`: signs a value of another application and puts it into the DHT.

use std::path::PathBuf;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted};
use phase_core::codec::V1;
use phase_core::dht::DhtRecord as _;
use phase_core::{Label, SignedRecord, SigningKey};
use serde_json::json;

use crate::clock;
use crate::output::Output;
use crate::{files, network, view};

const EXAMPLES: &str = "\
Examples:
  phase dht put --key app.key --label motd --value 'maintenance on Sunday' --bootstrap /ip4/127.0.0.1/tcp/4001
  phase dht put --key app.key --label config --file config.json --lifetime 1h --bootstrap /ip4/127.0.0.1/tcp/4001
  phase dht get \"record:$(phase key show app.key --json | jq -r .key_id)/motd\" --bootstrap /ip4/127.0.0.1/tcp/4001

The value is stored under record:<key id>/<label>, where only this key can put values. Readers verify it without a trust
root. DHT nodes drop it after about an hour, even if its lifetime is longer: put it again to keep it. `phase key new
app.key` makes the key.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The secret key to sign the value with
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The label of the value: any of the characters a-z 0-9 . _ -, but not the word manifest
    #[arg(long)]
    label: Label,
    /// The value; at most 4 KiB
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The version of the value; a higher version replaces a lower one. Default: the time in seconds since 1970
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    version: Option<u64>,
    /// How long the value is valid
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    lifetime: Duration,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let key = SigningKey::load(&args.key)?;
    let value = match (&args.value, &args.file) {
        (_, Some(path)) => files::read(path)?,
        (value, None) => value.clone().unwrap_or_default().into_bytes(),
    };
    let now = clock::signing_time()?;
    let record = SignedRecord {
        v: V1,
        key: key.public(),
        label: args.label.clone(),
        value,
        version: args.version.unwrap_or(now),
        issued_at: now,
        expires_at: now.saturating_add(args.lifetime.as_secs().max(1)),
    };
    // The sealed record is not used here. It is sealed before the node connects to any peer, so that an invalid record
    // is reported at once.
    record.seal(&key)?;
    let report = network::ask_dht(&args.node, async |node| Ok(node.put_record(&record, &key).await?))?;
    let stored_at = network::texts(&report.stored_at);
    output.result(
        || {
            json!({
                "key": record.dht_key().to_string(),
                "record": view::record_json(&record),
                "acknowledged_by": stored_at,
                "search": network::json_report(&report),
            })
        },
        || {
            let nodes = stored_at.join("\n           ");
            let nodes = format!("{}:\n           {nodes}", counted(stored_at.len(), "node", "nodes"));
            format!("key        {}\n{}\nstored by  {nodes}", record.dht_key(), view::record_text(&record))
        },
    )
}
