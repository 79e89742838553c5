//! `phase resolve`: the newest release of a name that the root accepts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs};
use phase_client::{ResolveOptions, Resolved, Trust};
use phase_core::Name;
use phase_core::store::Store;
use phase_core::time::TrustedTime;
use serde_json::json;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::{network, view};

#[derive(clap::Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Args {
    /// What to find, as channel/arch
    name: Name,
    /// The trust root: who may sign this name
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// What the store holds is the least version that is accepted
    #[command(flatten)]
    store: StoreArgs,
    /// Stop after so many verified answers
    #[arg(long, value_name = "N", default_value_t = ResolveOptions::default().answers)]
    answers: usize,
    /// Be content with fewer answers after this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = cli::parse_duration)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let trust = Trust { root: cli::read_root(&args.root)?, time: TrustedTime(cli::now()) };
    let store = args.store.open_if_there()?.map(|store| Arc::new(store) as Arc<dyn Store>);
    let options = ResolveOptions { answers: args.answers, timeout: args.timeout };
    let resolved = network::ask(async {
        let client = network::join(&args.node, store).await?;
        let resolved = client.resolve(&args.name, &trust, options).await;
        client.stop().await;
        Ok(resolved?)
    })?;
    output.result(|| json(&resolved), || text(&resolved, args.answers))
}

fn json(resolved: &Resolved) -> serde_json::Value {
    json!({
        "name": resolved.name.to_string(),
        "manifest": resolved.manifest_cid.to_string(),
        "seconds": resolved.elapsed.as_secs_f64(),
        "pointer_in_dht": resolved.pointer_in_dht,
        "answers": resolved.answers.iter().map(cli::json_answer).collect::<Vec<_>>(),
        "providers": resolved.providers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "content": view::manifest_json(&resolved.manifest),
    })
}

fn text(resolved: &Resolved, wanted: usize) -> String {
    let agreeing = resolved.providers.len();
    let dht = if resolved.pointer_in_dht { "found" } else { "missing" };
    let mut lines = vec![
        format!("manifest   {}", resolved.manifest_cid),
        view::manifest_text(&resolved.manifest),
        format!("found      in {:.2} s; pointer record in the DHT: {dht}", resolved.elapsed.as_secs_f64()),
    ];
    if agreeing < wanted {
        lines.push(format!("answers    {agreeing} of the {wanted} asked for: a newer release could be hidden from us"));
    }
    for answer in &resolved.answers {
        lines.push(match &answer.result {
            Ok(version) => format!("peer       {} offers version {version}", answer.peer),
            Err(error) => format!("peer       {}: {}", answer.peer, cli::printable(&error.to_string())),
        });
    }
    lines.join("\n")
}
