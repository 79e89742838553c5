//! `phase peers`: shows the events and states of a node's peers.

use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, Signals, counted, printable};
use phase_client::StartError;
use phase_core::{Attempt, Cause, Failure};
use phase_node::bootstrap::{BootstrapPeer, BootstrapSource, PeersUrl, UrlError, fetch_list};
use phase_node::{Node, NodeConfig, NodeHandle, PeerEvent, PeerInfo, Role};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::network;
use crate::output::Output;

/// The path of the peer list on the HTTP server of a provider.
const LIST: &str = "/peers";

const EXAMPLES: &str = "\
Examples:
  phase peers --bootstrap /ip4/127.0.0.1/tcp/4001
  phase peers --watch --json --bootstrap /ip4/127.0.0.1/tcp/4001
  phase peers --of http://127.0.0.1:9464

The address is that of a provider on this machine: phase-provider serve --store store --http 127.0.0.1:9464

The states of a peer are discovered, connected, identified, transferring, disconnected and expired. With --json, each
event is one line with a JSON document, and the last line is a document with all peers.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// How long to watch the peers
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    time: Duration,
    /// Watch until Ctrl-C
    #[arg(long, conflicts_with = "time")]
    watch: bool,
    /// Do not join the network; show the peer list that the provider at this URL serves instead
    #[arg(long, value_name = "URL", value_parser = parse_list_url, conflicts_with_all = ["time", "watch"])]
    of: Option<PeersUrl>,
    #[command(flatten)]
    node: NodeArgs,
}

/// Parses the URL of a peer list. If the URL has no path (`http://host:port`), adds the path of a provider's peer list.
fn parse_list_url(text: &str) -> Result<PeersUrl, UrlError> {
    let host = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains('/') => format!("http://{host}{LIST}").parse(),
        _ => text.parse(),
    }
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    if let Some(url) = &args.of {
        let listed = network::ask(async { Ok(fetch_list(url).await?) })?;
        return output.result(|| listed.iter().map(json_listed).collect(), || text_listed(&listed));
    }
    let config = args.node.configure(Role::Client)?;
    if config.bootstrap.is_empty() && config.peers.is_empty() && !config.mdns {
        return Err(StartError::NoPeers.into());
    }
    let sources = config.bootstrap.iter().cloned().chain(config.peers.iter().cloned().map(BootstrapSource::Peer));
    let tried = Attempt::merged(sources.map(no_answer));
    let (peers, met) = network::block_on(look(args, config, output))?;
    output.line(|| json!({ "peers": peers.iter().map(json).collect::<Vec<_>>() }), || text(&peers))?;
    if met {
        return Ok(());
    }
    let message = match tried.is_empty() {
        true => "no peer answers in the local network (mDNS)",
        false => "no peer answers",
    };
    let fault = Fault::new(Failure::Network, message).attempts(tried);
    Err(fault.hint("give the address of a running provider with --bootstrap"))
}

/// Returns the failed attempt to find peers through `source`.
fn no_answer(source: BootstrapSource) -> Attempt {
    match &source {
        BootstrapSource::Peer(BootstrapPeer { peer: Some(id), .. }) => {
            Attempt::new(id, vec![Cause::at(&source, "no answer")])
        }
        BootstrapSource::Peer(_) => Attempt::new(&source, vec![Cause::new("no answer")]),
        BootstrapSource::Url(_) => Attempt::new(&source, vec![Cause::new("no answer from its peers")]),
    }
}

/// Prints the events of peers. Returns the peers that are known at the end, and whether any peer was connected in the
/// meantime.
async fn look(args: &Args, config: NodeConfig, output: &Output) -> Result<(Vec<PeerInfo>, bool), Fault> {
    let mut signals = Signals::new()?;
    let node = Node::start(config).await?;
    let mut met = false;
    let watching = async {
        tokio::select! {
            result = watch(node.handle(), output, &mut met) => result,
            () = signals.next() => Ok(()),
        }
    };
    let shown = match args.watch {
        true => watching.await,
        false => tokio::time::timeout(args.time, watching).await.unwrap_or(Ok(())),
    };
    let peers = node.handle().peers();
    node.stop().await;
    shown.map(|()| (peers, met))
}

async fn watch(node: &NodeHandle, output: &Output, met: &mut bool) -> Result<(), Fault> {
    let mut events = node.peer_events();
    // A peer may have connected before the subscription to events, so the current state is checked once.
    *met = node.peers().iter().any(PeerInfo::is_connected);
    loop {
        match events.recv().await {
            Ok(event) => {
                let info = node.peer(&event.peer);
                *met |= info.as_ref().is_some_and(PeerInfo::is_connected);
                output.line(|| json_event(&event, info.as_ref()), || text_event(&event, info.as_ref()))?;
            }
            Err(RecvError::Lagged(missed)) => {
                output.remark(&format!("{} missed", counted(missed, "event was", "events were")));
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn json_event(event: &PeerEvent, info: Option<&PeerInfo>) -> Value {
    json!({
        "event": event.state.as_str(),
        "peer": event.peer.to_string(),
        "source": event.source.as_str(),
        "agent": info.and_then(|info| info.agent.clone()),
        "addresses": info.map_or_else(Vec::new, |info| network::texts(&info.addresses)),
    })
}

fn text_event(event: &PeerEvent, info: Option<&PeerInfo>) -> String {
    let more = info.and_then(|info| info.agent.clone().or_else(|| Some(info.addresses.first()?.to_string())));
    let more = more.map(|more| format!("  {}", printable(&more))).unwrap_or_default();
    format!("{:<12}  {}  {}{more}", event.state.as_str(), event.peer, event.source.as_str())
}

fn json(info: &PeerInfo) -> Value {
    json!({
        "peer": info.peer.to_string(),
        "state": info.state.as_str(),
        "source": info.source.as_str(),
        "round_trip_seconds": info.round_trip.map(|time| time.as_secs_f64()),
        "agent": info.agent,
        "dht_server": info.is_dht_server,
        "addresses": network::texts(&info.addresses),
    })
}

fn text(peers: &[PeerInfo]) -> String {
    let mut lines = vec![String::new()];
    if let Some(width) = peers.iter().map(|info| info.peer.to_string().len()).max() {
        let (peer, state, source, time, dht) = ("peer", "state", "source", "round trip", "DHT");
        lines.push(format!("{peer:<width$}  {state:<12}  {source:<13}  {time:>10}  {dht:<10}  program"));
    }
    for info in peers {
        let (state, source) = (info.state.as_str(), info.source.as_str());
        let time = network::milliseconds(info.round_trip);
        let dht = if info.is_dht_server { "DHT server" } else { "" };
        let agent = info.agent.as_deref().map(printable).unwrap_or_default();
        let line = format!("{}  {state:<12}  {source:<13}  {time:>10}  {dht:<10}  {agent}", info.peer);
        lines.push(line.trim_end().to_owned());
        lines.extend(info.addresses.iter().map(|address| format!("    {}", printable(&address.to_string()))));
    }
    lines.push(counted(peers.len(), "peer", "peers"));
    lines.join("\n")
}

fn json_listed(peer: &BootstrapPeer) -> Value {
    json!({ "peer": peer.peer.map(|peer| peer.to_string()), "address": peer.address.to_string() })
}

fn text_listed(peers: &[BootstrapPeer]) -> String {
    let mut lines: Vec<_> = peers.iter().map(|peer| printable(&peer.to_string())).collect();
    lines.push(counted(peers.len(), "address", "addresses"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_the_peer_list_of_the_provider() {
        for (text, expected) in [
            ("http://192.0.2.7:9464", "http://192.0.2.7:9464/peers"),
            ("http://192.0.2.7:9464/", "http://192.0.2.7:9464/peers"),
            ("http://[::1]:1", "http://[::1]:1/peers"),
            ("http://example.org/lists/a", "http://example.org/lists/a"),
        ] {
            assert_eq!(parse_list_url(text).unwrap().as_str(), expected);
        }
        for text in ["https://192.0.2.7", "192.0.2.7:9464", "http://", "ftp://a"] {
            assert!(parse_list_url(text).is_err(), "{text}");
        }
    }
}
