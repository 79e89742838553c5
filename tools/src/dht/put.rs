//! `phase dht put`: a signed value for other applications.

use std::path::PathBuf;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs};
use phase_core::codec::V1;
use phase_core::dht::DhtRecord as _;
use phase_core::{Label, SignedRecord, SigningKey};
use serde_json::json;

use crate::output::Output;
use crate::{files, network, view};

const EXAMPLES: &str = "\
Examples:
  phase dht put --key app.key --label motd --value 'maintenance on Sunday'
  phase dht put --key app.key --label config --file config.json --lifetime 1h
  phase dht get record:<key id>/motd

The value stands under record:<key id>/<label>, where only this key can put one; others verify it without a trust root.
Nodes forget it within about an hour, whatever its lifetime: put it again to keep it there.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The secret key that owns the value
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Which of the key's values: a-z 0-9 . _ -, but not manifest
    #[arg(long)]
    label: Label,
    /// The value itself; at most 4 KiB
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// The value is what is in this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Of two values the one with the higher version counts. Default: the present time, in seconds since 1970
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// How long the value may be believed
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = cli::parse_duration)]
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
    let now = cli::now();
    let record = SignedRecord {
        v: V1,
        key: key.public(),
        label: args.label.clone(),
        value,
        version: args.version.unwrap_or(now),
        issued_at: now,
        expires_at: now.saturating_add(args.lifetime.as_secs().max(1)),
    };
    // What makes no sense is found before anybody is met.
    record.seal(&key)?;
    let report = network::ask_dht(&args.node, async |node| {
        node.put_record(&record, &key).await.map_err(network::records_fault)
    })?;
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
            let nodes =
                format!("{} nodes acknowledged it:\n           {}", stored_at.len(), stored_at.join("\n           "));
            format!("key        {}\n{}\nput        {nodes}", record.dht_key(), view::record_text(&record))
        },
    )
}
