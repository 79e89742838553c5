//! `phase resolve`: finds the newest release of a name that the trust root accepts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted};
use phase_client::{ResolveOptions, Resolved, Trust};
use phase_core::store::Store;
use phase_core::time::TrustedTime;
use phase_core::{Attempt, Name};
use phase_node::Role;
use serde_json::json;

use crate::options::StoreArgs;
use crate::output::Output;
use crate::{network, view};

const EXAMPLES: &str = "\
Examples:
  phase resolve stable/x86_64 --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001
  phase resolve stable/x86_64 --root root.cbor --answers 1 --timeout 3s --json

The address is that of a provider on this machine: phase-provider serve --store store. Without --bootstrap, peers are
found in the local network.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The name to resolve, as channel/arch
    #[arg(value_name = "NAME")]
    name: Name,
    /// The trust root, which lists the keys that may sign this name
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// The store of the client. A release with a lower version than the release in this store is refused
    #[command(flatten)]
    store: StoreArgs,
    /// Stop as soon as this many peers have returned the newest release
    #[arg(long, value_name = "N", default_value_t = ResolveOptions::default().answers, allow_negative_numbers = true)]
    answers: usize,
    /// Accept fewer answers than --answers after this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let trust = Trust { root: cli::read_root(&args.root)?, time: TrustedTime(cli::now()) };
    let store = args.store.open_if_there()?.map(|store| Arc::new(store) as Arc<dyn Store>);
    let options = ResolveOptions { answers: args.answers, timeout: args.timeout };
    let has_dht = args.node.configure(Role::Client)?.dht.is_some();
    let resolved = network::ask(async {
        let client = network::join(&args.node, store).await?;
        let resolved = client.resolve(&args.name, &trust, options).await;
        client.stop().await;
        Ok(resolved?)
    })?;
    output.result(|| json(&resolved), || text(&resolved, has_dht, args.answers, output.is_verbose()))
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

fn text(resolved: &Resolved, has_dht: bool, wanted: usize, is_verbose: bool) -> String {
    let agreeing = resolved.providers.len();
    let dht = match (has_dht, resolved.pointer_in_dht) {
        (false, _) => "the DHT is off",
        (true, true) => "the DHT returned a valid pointer record",
        (true, false) => "the DHT returned no valid pointer record",
    };
    let time = cli::seconds(resolved.elapsed.as_secs_f64());
    let mut lines = vec![
        format!("manifest   {}", resolved.manifest_cid),
        view::manifest_text(&resolved.manifest),
        format!("resolved   in {time}; {dht}"),
    ];
    if agreeing < wanted {
        let have = counted(agreeing, "peer has", "peers have");
        lines.push(format!(
            "answers    {have} this release (looked for {wanted}); a newer one may be hidden from this machine"
        ));
    }
    for answer in &resolved.answers {
        lines.push(match &answer.result {
            Ok(version) => format!("peer       {}: version {version}", answer.peer),
            Err(error) => {
                let attempt = Attempt::new(answer.peer, error.causes());
                format!("peer       {}", cli::attempt_lines(&[attempt], is_verbose).join("\n           "))
            }
        });
    }
    lines.join("\n")
}
