//! `phase-provider`: the daemon that serves a store and announces its releases.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use phase_cli as cli;
use phase_cli::{EXIT_CODES, Fault, NodeArgs, PruneArgs, Signals, UploadArgs};
use phase_core::Failure;
use phase_node::{Multiaddr, NodeConfig, Role};
use phase_provider::{Announced, FileEvent, Provider, ProviderConfig};
use serde_json::json;
use tokio::sync::mpsc::Receiver;

/// The headings in `--help` of the options about serving, about the DHT and about output.
const SERVING: &str = "Serving options";
const DHT: &str = "DHT options";
const OUTPUT: &str = "Output options";

/// Serve a store to peers and announce its releases
#[derive(Parser)]
#[command(name = "phase-provider", version, after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{NOTES}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve and announce the releases in a store until SIGTERM or SIGINT
    #[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{NOTES}\n\n{EXIT_CODES}"))]
    Serve(Serve),
}

/// The permitted values of `--record-ttl`. A shorter time would cause too many announcements. A longer time would keep
/// too many records of providers that have left.
#[cfg(feature = "dht")]
const RECORD_TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(48 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  The first node of a network, on port 4001:
    phase-provider serve --store store
  A second provider on the same machine:
    phase-provider serve --store mirror --listen /ip4/0.0.0.0/tcp/4002 --bootstrap /ip4/127.0.0.1/tcp/4001
  The first node, with a list of bootstrap peers and metrics for Prometheus over HTTP:
    phase-provider serve --store store --http 127.0.0.1:9464
  A mirror that keeps the current and the previous release of each name, and removes older ones:
    phase-provider serve --store mirror --keep 2 --max-size 100GiB --bootstrap /ip4/127.0.0.1/tcp/4001
  A store on read-only media, with locks and keys in another folder:
    phase-provider serve --store /mnt/iso/store --state /var/lib/phase-state
  A second provider that gets its bootstrap peers from this list:
    phase-provider serve --store mirror --listen /ip4/0.0.0.0/tcp/4002 --bootstrap http://127.0.0.1:9464/peers";

const NOTES: &str = "\
Releases that are published into the store while the provider runs are announced too. A provider with an empty store is
a bootstrap node. On a signal, the provider withdraws its announcements; a second signal ends the process at once.

By default, all releases stay in the store. With --keep or --max-size, old ones are removed after a newer release is
announced. Current and pinned releases always stay (see `phase store --help`).

The addresses of good peers are saved in the store, or in the folder of --state (peers.toml). After the first start,
--bootstrap is only needed if none of these peers answers. With --peer or --no-dht, the provider announces nothing in
the DHT.

Standard output, line by line:
  serving <peer id>
  listening <address>/p2p/<peer id>     one for each address
  http http://<address>:<port>          with --http
  announced <N> of <M> keys             whenever all keys have been announced
  withdrawn <artifact> <reason>         a file is damaged, missing or unreadable: its artifact and the releases
                                        with it are withdrawn
  restored <artifact> <file>            the file is right again: they are served and announced again

With --json, the last two are {\"withdrawn\": {\"artifact\", \"file\", \"reason\"}} and {\"restored\": {\"artifact\",
\"file\"}}. Files inside the store and files that were published with --reference are watched, and a withdrawn file is
hashed again whenever it has changed.

A store of another user can be served if its files can be read. To share a store with a group, whatever the umask is:
mkdir store; chgrp GROUP store; chmod 2770 store, before the first publish. Its provider can run as another user of the
group, with --state.";

#[derive(Args)]
struct Serve {
    /// The folder of the store to serve. It is created if it does not exist, except with --state. Without --state, only
    /// one provider can serve a store
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    store: PathBuf,
    /// The folder for locks, keys and all other files that are written. The store is then only read
    ///
    /// With this, a store on read-only media, or one of another user, can be served. The store must exist. The folder is
    /// created if it does not exist. Each provider needs its own. If the media are replaced, use a new folder, because it
    /// remembers which files were hashed. Default: the folder of the store
    #[arg(long, value_name = "DIR", env = "PHASE_STATE")]
    state: Option<PathBuf>,
    /// The address to listen on; repeatable, or separated by commas
    #[arg(long, value_name = "ADDR", value_parser = cli::parse_address, value_delimiter = ',', help_heading = SERVING,
        default_values = ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"])]
    listen: Vec<Multiaddr>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    upload: UploadArgs,
    /// Serve /peers, /metrics and /health over HTTP on this address, for instance 127.0.0.1:9464. Default: off
    ///
    /// /peers lists bootstrap peers: this node and the DHT servers to which it is connected. Other nodes read the list
    /// with --bootstrap http://…/peers. /metrics is for Prometheus. Any client that can reach the address can read all
    /// three. With port 0 the system chooses a port.
    #[arg(long, value_name = "ADDR", value_parser = parse_socket, help_heading = SERVING)]
    http: Option<SocketAddr>,
    /// The time between two announcements of the same key, for instance 12h
    ///
    /// Default: half of --record-ttl, at most 30m, because other nodes keep a record for 1h by default. The time must
    /// be shorter than --record-ttl on the other nodes, so that records are renewed before they expire.
    #[arg(long, value_name = "TIME", value_parser = cli::parse_duration, allow_hyphen_values = true, help_heading = DHT)]
    announce_interval: Option<Duration>,
    #[cfg(feature = "dht")]
    #[command(flatten)]
    records: Records,
    #[command(flatten)]
    prune: PruneArgs,
    /// Print JSON on standard output, one document per line, and errors as JSON on standard error
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// Log events to standard error, and list every peer and address in errors; -vv logs details. RUST_LOG overrides
    /// the level of the log
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    verbose: u8,
}

/// The options for the DHT records of other nodes that this node keeps.
#[cfg(feature = "dht")]
#[derive(Args)]
struct Records {
    /// How long to keep a record of another node that is not announced again: 1m to 48h
    ///
    /// A longer time means fewer announcements, but clients keep trying dead providers for longer.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, default_value = "1h", allow_hyphen_values = true,
        help_heading = DHT)]
    record_ttl: Duration,
    /// A trust root. For the channels in it, keep only pointers that it accepts; repeatable
    ///
    /// For other channels, pointers from any signer are kept. Clients are safe in both cases, because they verify every
    /// pointer.
    #[arg(long = "root", value_name = "FILE", help_heading = DHT)]
    roots: Vec<PathBuf>,
}

#[cfg(feature = "dht")]
impl Records {
    fn configure(&self, node: &mut NodeConfig) -> Result<(), Fault> {
        // Read the files even without the DHT, so that a wrong file is always an error.
        let roots = self.roots.iter().map(|path| cli::read_root(path)).collect::<Result<_, _>>()?;
        if let Some(dht) = &mut node.dht {
            (dht.value_ttl, dht.provider_ttl, dht.roots) = (self.record_ttl, self.record_ttl, roots);
        }
        Ok(())
    }
}

#[cfg(feature = "dht")]
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = cli::parse_duration(text)?;
    if RECORD_TTL.contains(&ttl) { Ok(ttl) } else { Err("must be between 1m and 48h".to_owned()) }
}

fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, for instance 127.0.0.1:9464".to_owned())
}

fn main() -> ExitCode {
    let Command::Serve(args) = Cli::parse().command;
    cli::raise_descriptor_limit();
    cli::init_logging(args.verbose, std::io::stderr);
    cli::warn_of_key_log();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(args.json, args.verbose),
    }
}

fn run(args: &Serve) -> Result<(), Fault> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Serve) -> Result<(), Fault> {
    // Install the signal handlers first, so that from now on a signal stops the provider cleanly.
    let mut signals = Signals::new()?;
    let config = configure(args)?;
    let mut provider = tokio::select! {
        started = Provider::start(config) => started?,
        () = signals.next() => return Ok(()),
    };
    cli::warn_of_store(provider.warnings());
    print_ready(args, &provider).await?;
    let mut announced = provider.announced();
    let mut file_events = provider.take_file_events();
    loop {
        tokio::select! {
            () = signals.next() => break,
            Ok(()) = announced.changed() => {
                let now = *announced.borrow_and_update();
                warn_of(print_announced(args, now));
            }
            Some(event) = next(&mut file_events) => warn_of(print_file_event(args, &event)),
        }
    }
    tracing::info!("withdrawing all announcements; a second signal ends the process at once");
    signals.exit_on_next();
    provider.stop().await;
    Ok(())
}

fn configure(args: &Serve) -> Result<ProviderConfig, Fault> {
    #[cfg_attr(not(feature = "dht"), expect(unused_mut, reason = "only the options about the DHT change it"))]
    let mut node = NodeConfig { listen: args.listen.clone(), ..args.node.configure(Role::Server)? };
    #[cfg(feature = "dht")]
    args.records.configure(&mut node)?;
    let server = args.upload.configure();
    let mut config = ProviderConfig {
        server,
        state: args.state.clone(),
        http: args.http,
        ..ProviderConfig::new(args.store.clone(), node)
    };
    config.prune = args.prune.limits();
    config.clock = Some(std::sync::Arc::new(cli::now));
    if let Some(interval) = args.announce_interval {
        config.announce_interval = interval;
    }
    Ok(config)
}

/// Prints the peer id and the addresses of a started provider.
async fn print_ready(args: &Serve, provider: &Provider) -> Result<(), Fault> {
    let peer = provider.peer_id().to_string();
    let addresses: Vec<_> = provider.addresses().await.iter().map(ToString::to_string).collect();
    let http = provider.http_address().map(|address| format!("http://{address}"));
    if args.json {
        return cli::print(&format!("{}\n", json!({ "peer_id": peer, "addresses": addresses, "http": http })));
    }
    let lines = addresses.iter().map(|address| format!("listening {address}\n"));
    let http = http.map(|url| format!("http {url}\n")).unwrap_or_default();
    cli::print(&format!("serving {peer}\n{}{http}", lines.collect::<String>()))
}

async fn next(events: &mut Option<Receiver<FileEvent>>) -> Option<FileEvent> {
    match events {
        Some(events) => events.recv().await,
        None => None,
    }
}

/// Logs a failure to print. Standard output may be closed, and the provider continues to serve peers.
fn warn_of(printed: Result<(), Fault>) {
    if let Err(fault) = printed {
        tracing::warn!("{}", fault.chain());
    }
}

/// Prints that an artifact was withdrawn or is served again.
fn print_file_event(args: &Serve, event: &FileEvent) -> Result<(), Fault> {
    let file = |path: &Path| path.to_string_lossy().into_owned();
    let (line, document) = match event {
        FileEvent::Withdrawn { artifact, path, reason } => (
            format!("withdrawn {artifact} {reason}"),
            json!({ "withdrawn": { "artifact": artifact.to_string(), "file": file(path), "reason": reason } }),
        ),
        FileEvent::Restored { artifact, path } => (
            format!("restored {artifact} {}", path.display()),
            json!({ "restored": { "artifact": artifact.to_string(), "file": file(path) } }),
        ),
        _ => return Ok(()),
    };
    // The name of a file may contain line breaks.
    cli::print(&if args.json { format!("{document}\n") } else { format!("{}\n", cli::printable(&line)) })
}

/// Prints a line if all keys are announced.
fn print_announced(args: &Serve, Announced { wanted, done }: Announced) -> Result<(), Fault> {
    if wanted == 0 || done < wanted {
        return Ok(());
    }
    if args.json {
        cli::print(&format!("{}\n", json!({ "announced": done, "keys": wanted })))
    } else {
        cli::print(&format!("announced {done} of {wanted} keys\n"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_is_a_valid_command_line() {
        let lines: Vec<_> =
            EXAMPLES.lines().map(str::trim).filter(|line| line.starts_with("phase-provider ")).collect();
        assert_eq!(lines.len(), 6);
        for line in lines {
            let parsed = Cli::command().try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        }
    }
}
