//! `phase dht get`: every value under a key, and who holds it.

use std::path::PathBuf;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, printable};
use phase_core::time::TrustedTime;
use phase_core::{DhtKey, Failure};
use phase_node::{FoundValue, NodeHandle, QueryError, QueryReport};
use serde_json::{Value as Json, json};

use super::key::{KEYS, parse_key};
use super::values::{self, Content, Value, Verdict};
use crate::output::Output;
use crate::{network, view};

const EXAMPLES: &str = "\
Examples:
  phase dht get stable/x86_64 --root root.cbor
  phase dht get contact:12D3KooW… --json

Every distinct value is shown, the newest that verifies first. Pointers are verified with the trust root, everything
else with the key that its own DHT key names.";

#[derive(clap::Args)]
#[command(after_help = format!("{KEYS}\n\n{EXAMPLES}"), after_long_help = format!("{KEYS}\n\n{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// What to look for
    #[arg(value_parser = parse_key)]
    key: DhtKey,
    /// The trust root that pointers are verified with. Without it they are shown as not verified
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

/// What was found under each key, and what each search did.
struct Search {
    found: Vec<(DhtKey, FoundValue)>,
    outcomes: Vec<(DhtKey, Result<QueryReport, QueryError>)>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    if let DhtKey::Content(cid) = &args.key {
        let message = "the DHT holds no values under a CID, only who provides it";
        return Err(Fault::new(Failure::Usage, message).hint(format!("phase dht providers {cid}")));
    }
    let root = args.root.as_deref().map(cli::read_root).transpose()?;
    let Search { found, outcomes } = network::ask_dht(&args.node, async |node| Ok(search(node, &args.key).await))?;
    let values = values::judge(found, root.as_ref(), TrustedTime(cli::now()));
    if values.is_empty() {
        return Err(nothing(&args.key, outcomes));
    }
    let report = network::sum(outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()));
    if values.iter().all(|value| matches!(value.verdict, Verdict::Refused(_))) {
        return Err(untrusted(&args.key, &values, &report));
    }
    output.result(
        || json!({ "key": args.key.to_string(), "values": values.iter().map(json).collect::<Vec<_>>(), "search": network::json_report(&report) }),
        || values.iter().map(text).chain([format!("asked      {report}")]).collect::<Vec<_>>().join("\n\n"),
    )
}

async fn search(node: &NodeHandle, key: &DhtKey) -> Search {
    let mut searches = Vec::new();
    for key in network::copies(key) {
        let search = node.find_values(&key.to_bytes()).await;
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

/// Nobody has anything: who was asked.
fn nothing(key: &DhtKey, outcomes: Vec<(DhtKey, Result<QueryReport, QueryError>)>) -> Fault {
    let mut reports = Vec::new();
    for (_, outcome) in outcomes {
        match outcome {
            Ok(report) => reports.push(report),
            // Not everybody has said that there is nothing.
            Err(error) => return network::query_fault(error),
        }
    }
    Fault::new(Failure::NotFound, format!("the DHT holds nothing under {key} ({})", network::sum(reports)))
}

fn untrusted(key: &DhtKey, values: &[Value], report: &QueryReport) -> Fault {
    let reasons = values.iter().filter_map(|value| {
        let Verdict::Refused(reason) = &value.verdict else { return None };
        Some(format!("{}: {reason}", holders(value).join(", ")))
    });
    let reasons: Vec<_> = reasons.collect();
    let message = format!("what the DHT holds under {key} does not verify: {} ({report})", reasons.join("; "));
    let fault = Fault::new(Failure::Untrusted, message);
    match key {
        DhtKey::Name(_) | DhtKey::NameCopy(..) => fault.hint("is this the root that the publisher signs with?"),
        _ => fault,
    }
}

fn holders(value: &Value) -> Vec<String> {
    value.holders.iter().map(|peer| network::holder(*peer)).collect()
}

fn json(value: &Value) -> Json {
    let (verified, error) = match &value.verdict {
        Verdict::Verified => (Json::Bool(true), None),
        // Nobody knows.
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
        None => ("unknown", format!("length     {} bytes", value.len)),
    };
    let held = holders(value).join("\n           ");
    let keys = network::texts(&value.keys.iter().collect::<Vec<_>>()).join("\n           ");
    format!("{kind:<10} {verdict}\n{content}\nheld by    {held}\nunder      {keys}")
}
