//! `phase-provider`: the daemon that serves a store and announces what is in it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use phase_core::Failure;
use phase_core::failure::EXIT_CODES;
use phase_provider::{Announced, Provider, ProviderConfig, ProviderError};
use phase_transfer::cli::{self, BootstrapArgs, Fails, Fault, Signals};
use phase_transfer::net::Multiaddr;
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

const SERVE_EXAMPLES: &str = "\
Examples:
  The first node of a network, on port 4001:
    phase-provider serve --store /var/lib/phase
  A further one on the same machine:
    phase-provider serve --store /srv/phase --listen /ip4/0.0.0.0/tcp/4002 \\
        --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…

Standard output, line by line:
  serving <peer id>
  listening <address>/p2p/<peer id>     one for each address
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
    bootstrap: BootstrapArgs,
    /// The time between two announcements of the same thing, for instance 12h
    #[arg(long, value_name = "TIME", value_parser = cli::parse_duration)]
    announce_interval: Option<Duration>,
    /// Print JSON, one document per line, and errors as JSON
    #[arg(long)]
    json: bool,
    /// Log more; twice: much more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
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
    let mut config = ProviderConfig::new(args.store.clone(), args.listen.clone(), args.bootstrap.choose()?);
    if let Some(interval) = args.announce_interval {
        config.announce_interval = interval;
    }
    let provider = tokio::select! {
        started = Provider::start(config) => started.map_err(StartFault)?,
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

async fn tell_ready(args: &Serve, provider: &Provider) -> Result<(), Fault> {
    let peer = provider.peer_id().to_string();
    let addresses: Vec<_> = provider.addresses().await.iter().map(ToString::to_string).collect();
    if args.json {
        return cli::print(&format!("{}\n", json!({ "peer_id": peer, "addresses": addresses })));
    }
    let lines = addresses.iter().map(|address| format!("listening {address}\n"));
    cli::print(&format!("serving {peer}\n{}", lines.collect::<String>()))
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

/// Why the provider did not start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct StartFault(ProviderError);

impl Fails for StartFault {
    fn failure(&self) -> Failure {
        self.0.failure()
    }

    fn hint(&self) -> Option<&'static str> {
        match &self.0 {
            ProviderError::Store(phase_core::store::StoreError::ProviderRunning { .. }) => {
                Some("one provider serves a store; stop the other one, or give this one another store")
            }
            _ => None,
        }
    }
}
