//! `phase dht get`: shows every value under a DHT key, and the nodes that store the value.

use std::path::PathBuf;

use phase_cli::{self as cli, Bytes, EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::time::TrustedTime;
use phase_core::{Attempt, Cause, DhtKey, Failure};
use phase_node::{FoundValue, NodeHandle, QueryError, QueryReport};
use serde_json::{Value as Json, json};

use super::key::{KEYS, parse_key};
use super::values::{self, Content, Value, Verdict};
use crate::output::Output;
use crate::{network, view};

const EXAMPLES: &str = "\
Examples:
  phase dht get stable/x86_64 --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001
  phase dht get \"authority:$(phase key show publisher.key --json | jq -r .key_id)\" \\
      --bootstrap /ip4/127.0.0.1/tcp/4001 --json

Every distinct value is shown, the newest value that verifies first. Pointer records are verified with the trust root,
all other values with the public key that their DHT key names.";

#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{KEYS}"),
    after_long_help = format!("{EXAMPLES}\n\n{KEYS}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The DHT key to search
    #[arg(value_parser = parse_key)]
    key: DhtKey,
    /// The trust root to verify pointer records with. Without a trust root, they are shown as not verified
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

/// The values that were found, each with its DHT key, and the result of the search for each DHT key.
struct Search {
    found: Vec<(DhtKey, FoundValue)>,
    outcomes: Vec<(DhtKey, Result<QueryReport, QueryError>)>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    if let DhtKey::Content(cid) = &args.key {
        let message = "the DHT stores no values under a CID, only provider records";
        return Err(Fault::new(Failure::Usage, message).hint(format!("run `phase dht providers {cid}`")));
    }
    let root = args.root.as_deref().map(cli::read_root).transpose()?;
    let Search { found, outcomes } = network::ask_dht(&args.node, async |node| Ok(search(node, &args.key).await))?;
    let values = values::judge(found, root.as_ref(), TrustedTime(cli::now()));
    if values.is_empty() {
        return Err(not_found(&args.key, outcomes));
    }
    let report = network::sum(outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()));
    if values.iter().all(|value| matches!(value.verdict, Verdict::Refused(_))) {
        return Err(untrusted(&args.key, &values, &report));
    }
    output.result(
        || {
            let values: Vec<_> = values.iter().map(json).collect();
            json!({ "key": args.key.to_string(), "values": values, "search": network::json_report(&report) })
        },
        || values.iter().map(text).chain([format!("search     {report}")]).collect::<Vec<_>>().join("\n\n"),
    )
}

async fn search(node: &NodeHandle, key: &DhtKey) -> Search {
    let mut searches = Vec::new();
    for key in key.copies() {
        let search = node.find_values(&key).await;
        searches.push((key, search));
    }
    let (mut found, mut outcomes) = (Vec::new(), Vec::new());
    for (key, search) in searches {
        let (values, outcome) = search.collect().await;
        found.extend(values.into_iter().map(|value| (key.clone(), value)));
        outcomes.push((key, outcome));
    }
    Search { found, outcomes }
}

/// Returns the error for a DHT key under which no value was found. The message names the peers that were asked.
fn not_found(key: &DhtKey, outcomes: Vec<(DhtKey, Result<QueryReport, QueryError>)>) -> Fault {
    let mut reports = Vec::new();
    for (_, outcome) in outcomes {
        match outcome {
            Ok(report) => reports.push(report),
            // A failed search does not prove that there is no value, so its error is returned.
            Err(error) => return error.into(),
        }
    }
    let report = network::sum(reports);
    let message = format!("the DHT stores no value under {key} ({report})");
    Fault::new(Failure::NotFound, message).attempts(report.attempts())
}

fn untrusted(key: &DhtKey, values: &[Value], report: &QueryReport) -> Fault {
    let mut attempts = Vec::new();
    for value in values {
        if let Verdict::Refused(reason) = &value.verdict {
            attempts.extend(holders(value).iter().map(|holder| Attempt::new(holder, vec![Cause::new(reason)])));
        }
    }
    let is_new = |node: &Attempt| attempts.iter().all(|holder| holder.target != node.target);
    let other_nodes: Vec<_> = report.attempts().into_iter().filter(is_new).collect();
    attempts.extend(other_nodes);
    let message = format!("no value under {key} in the DHT verifies ({report})");
    let fault = Fault::new(Failure::Untrusted, message).attempts(Attempt::merged(attempts));
    match key {
        DhtKey::Name(_) | DhtKey::NameCopy(..) => fault.hint("check that --root is the trust root of this publisher"),
        _ => fault,
    }
}

fn holders(value: &Value) -> Vec<String> {
    value.holders.iter().map(|peer| network::holder(*peer)).collect()
}

fn json(value: &Value) -> Json {
    let (verified, error) = match &value.verdict {
        Verdict::Verified => (Json::Bool(true), None),
        // Without a trust root, it is not known whether the value verifies.
        Verdict::NotVerified => (Json::Null, None),
        Verdict::Refused(reason) => (Json::Bool(false), Some(reason)),
    };
    json!({
        "verified": verified,
        "error": error,
        "bytes": value.len,
        "holders": holders(value),
        "keys": network::texts(&value.keys.iter().collect::<Vec<_>>()),
        "content": value.content.as_ref().map(|content| match content {
            Content::Pointer(pointer) => view::pointer_json(pointer),
            Content::Contact(contact) => view::contact_json(contact),
            Content::Authority(authority) => view::authority_json(authority),
            Content::Record(record) => view::record_json(record),
        }),
    })
}

fn text(value: &Value) -> String {
    let verdict = match &value.verdict {
        Verdict::Verified => "verified".to_owned(),
        Verdict::NotVerified => "not verified: no --root".to_owned(),
        Verdict::Refused(reason) => format!("NOT VALID: {}", printable(reason)),
    };
    let (kind, content) = match &value.content {
        Some(Content::Pointer(pointer)) => ("pointer", view::pointer_text(pointer)),
        Some(Content::Contact(contact)) => ("contact", view::contact_text(contact)),
        Some(Content::Authority(authority)) => ("authority", view::authority_text(authority)),
        Some(Content::Record(record)) => ("record", view::record_text(record)),
        None => ("unknown", format!("size       {}", Bytes(value.len as u64))),
    };
    let held = holders(value).join("\n           ");
    let keys = network::texts(&value.keys.iter().collect::<Vec<_>>()).join("\n           ");
    format!("{kind:<10} {verdict}\n{content}\nstored by  {held}\nkeys       {keys}")
}
