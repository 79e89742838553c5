//! `phase-provider`: the daemon that serves a store and announces what is in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use phase_cli as cli;
use phase_cli::{EXIT_CODES, Fault, NodeArgs, Signals, UploadArgs};
use phase_core::Failure;
use phase_node::{Multiaddr, NodeConfig, Role};
use phase_provider::{Announced, Provider, ProviderConfig};
use serde_json::json;

/// Serves a store to peers and announces what is in it.
#[derive(Parser)]
#[command(name = "phase-provider", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve and announce everything published in a store until SIGTERM or SIGINT
    ///
    /// Releases that are published into the store while it runs are noticed. A provider of an empty store is a
    /// bootstrap node. On a signal everything is withdrawn; a second signal ends the process at once.
    #[command(after_help = EXIT_CODES, after_long_help = format!("{SERVE_EXAMPLES}\n\n{EXIT_CODES}"))]
    Serve(Serve),
}

/// What records of others may be kept for: below, announcements would be all that a network does; beyond, most of what is
/// kept would be about machines that are gone.
#[cfg(feature = "dht")]
const RECORD_TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(48 * 60 * 60);

const SERVE_EXAMPLES: &str = "\
Examples:
  The first node of a network, on port 4001:
    phase-provider serve --store /var/lib/phase
  A further one on the same machine:
    phase-provider serve --store /srv/phase --listen /ip4/0.0.0.0/tcp/4002 \\
        --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…
  One that also tells others whom to begin with, and Prometheus how it is:
    phase-provider serve --store /var/lib/phase --http 0.0.0.0:9464
  A node that learns from it:
    phase-provider serve --store /srv/phase --bootstrap http://192.0.2.7:9464/peers

Good peers are remembered in the store (peers.toml): after the first start --bootstrap is only needed when all of them
are gone. With --peer or --no-dht it serves without announcing.

Standard output, line by line:
  serving <peer id>
  listening <address>/p2p/<peer id>     one for each address
  http http://<address>:<port>          with --http
  announced <N> of <M> keys             whenever everything has been announced";

#[derive(Args)]
struct Serve {
    /// The store to serve; made if it does not exist. One provider per store
    #[arg(long, value_name = "DIR", env = "PHASE_STORE")]
    store: PathBuf,
    /// Address to serve on; repeatable
    #[arg(long, value_name = "ADDR", value_delimiter = ',',
        default_values = ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"])]
    listen: Vec<Multiaddr>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    upload: UploadArgs,
    /// Serve HTTP here, for instance on 127.0.0.1:9464: /peers, /metrics, /health. Default: nowhere
    ///
    /// /peers lists this node and good peers, as --bootstrap http://…/peers reads it; /metrics is for Prometheus. Whoever
    /// can reach the address may read all of it. With port 0 the system chooses one.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// The time between two announcements of the same thing, for instance 12h
    ///
    /// Default: half of --record-ttl, at most 30m, so that nodes which keep records for the usual hour do not forget it. Set
    /// it to less than what --record-ttl is on the other nodes.
    #[arg(long, value_name = "TIME", value_parser = cli::parse_duration)]
    announce_interval: Option<Duration>,
    #[cfg(feature = "dht")]
    #[command(flatten)]
    records: Records,
    /// Print JSON, one document per line, and errors as JSON
    #[arg(long)]
    json: bool,
    /// Log more; twice: much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// What is kept of the DHT records of others.
#[cfg(feature = "dht")]
#[derive(Args)]
struct Records {
    /// How long records of others are kept without being announced again: 1m to 48h
    ///
    /// Longer means fewer announcements, and that clients are sent longer to providers that are gone.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, default_value = "1h")]
    record_ttl: Duration,
    /// A trust root: of its channels, keep only pointers that it accepts; repeatable
    ///
    /// Of channels that no root names, pointers by anybody are kept, as of all channels without this: clients verify
    /// whatever they get.
    #[arg(long = "root", value_name = "FILE")]
    roots: Vec<PathBuf>,
}

#[cfg(feature = "dht")]
impl Records {
    fn configure(&self, node: &mut NodeConfig) -> Result<(), Fault> {
        // Read in any case: a wrong file is an error.
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

fn main() -> ExitCode {
    let Command::Serve(args) = Cli::parse().command;
    cli::init_logging(args.verbose, std::io::stderr);
    cli::warn_of_key_log();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(args.json),
    }
}

fn run(args: &Serve) -> Result<(), Fault> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Fault::new(Failure::Other, format!("cannot start threads: {error}")))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Serve) -> Result<(), Fault> {
    // First: from here on a signal is a request to stop cleanly.
    let mut signals = Signals::new()?;
    let config = configure(args)?;
    let provider = tokio::select! {
        started = Provider::start(config) => started?,
        () = signals.next() => return Ok(()),
    };
    tell_ready(args, &provider).await?;
    let mut announced = provider.announced();
    loop {
        tokio::select! {
            () = signals.next() => break,
            Ok(()) = announced.changed() => {
                let now = *announced.borrow_and_update();
                // Whoever reads the lines may be gone; those who fetch are not.
                if let Err(fault) = tell_announced(args, now) {
                    tracing::warn!("{}", fault.chain());
                }
            }
        }
    }
    tracing::info!("withdrawing what was announced");
    signals.exit_on_next();
    provider.stop().await;
    Ok(())
}

fn configure(args: &Serve) -> Result<ProviderConfig, Fault> {
    #[cfg_attr(not(feature = "dht"), expect(unused_mut, reason = "without the DHT there is nothing to add"))]
    let mut node = NodeConfig { listen: args.listen.clone(), ..args.node.configure(Role::Server)? };
    #[cfg(feature = "dht")]
    args.records.configure(&mut node)?;
    let server = args.upload.configure();
    let mut config = ProviderConfig { server, http: args.http, ..ProviderConfig::new(args.store.clone(), node) };
    if let Some(interval) = args.announce_interval {
        config.announce_interval = interval;
    }
    Ok(config)
}

async fn tell_ready(args: &Serve, provider: &Provider) -> Result<(), Fault> {
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

/// Says that everything has been announced, once it has.
fn tell_announced(args: &Serve, Announced { wanted, done }: Announced) -> Result<(), Fault> {
    if wanted == 0 || done < wanted {
        return Ok(());
    }
    if args.json {
        cli::print(&format!("{}\n", json!({ "announced": done, "keys": wanted })))
    } else {
        cli::print(&format!("announced {done} of {wanted} keys\n"))
    }
}
