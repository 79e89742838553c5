//! Advertises and browses releases with mdns-sd, and ends the thread of mdns-sd when its cache is too large.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Metrics, ServiceDaemon};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::discovery::local_network::dns_sd::browser::Browser;
use crate::discovery::local_network::dns_sd::error::{DnsSdError, MAX_ADVERTS};
use crate::discovery::local_network::dns_sd::record;
use crate::discovery::local_network::dns_sd::release::{LocalRelease, SERVICE_TYPE};
use crate::discovery::local_network::releases::Advert;

/// The capacity of the channel that [`DnsSd::browse`] returns. Further releases wait in the browser.
const FOUND_QUEUE: usize = 16;
/// The timeout for an answer from mdns-sd. mdns-sd answers commands between packets, so only a flood of packets delays
/// an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a command to mdns-sd is retried. A command fails while the command queue of mdns-sd is full, which
/// has 100 entries.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The interval between two checks of the number of records and timers in mdns-sd.
const GUARD_INTERVAL: Duration = Duration::from_secs(1);
/// The limit on the number of records and timers in mdns-sd. This node ends mdns-sd when it holds more. A hundred hosts
/// with ten services each need about 6000.
const MAX_HELD: i64 = 20_000;

/// The network interfaces on which DNS-SD runs. An interface that comes up later is used within seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// All interfaces except loopback and point-to-point interfaces. Loopback addresses of peers are ignored.
    #[default]
    AllButLoopback,
    /// The interfaces with these names, for example `eth0` or `lo`.
    Named(Vec<String>),
}

impl Interfaces {
    /// Returns whether loopback addresses of peers are accepted. They are accepted with named interfaces, because `lo`
    /// may be one of them.
    fn permit_loopback(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    fn into_kind(self) -> IfKind {
        IfKind::Predicate(match self {
            Self::AllButLoopback => IfPredicate::new(|interface| !interface.is_loopback() && !interface.is_p2p()),
            Self::Named(names) => IfPredicate::new(move |interface| names.contains(&interface.name)),
        })
    }
}

/// The DNS-SD service of this node, which announces and finds releases.
///
/// [`stop`](Self::stop) withdraws every advert and waits until the withdrawals are sent. Dropping the service also
/// withdraws every advert, but does not wait, so the withdrawals are lost if the process ends first.
pub struct DnsSd {
    daemon: ServiceDaemon,
    peer: PeerId,
    permit_loopback: bool,
    /// The adverts that have been passed to mdns-sd, each with its TCP port, by full instance name.
    advertised: BTreeMap<String, (u16, Advert)>,
    browser: Option<AbortOnDropHandle<()>>,
    _guard: AbortOnDropHandle<()>,
}

impl DnsSd {
    /// Opens the mDNS port and joins the interfaces. Sends nothing before the first [`advertise`](Self::advertise) or
    /// [`browse`](Self::browse).
    ///
    /// Succeeds even if none of the chosen interfaces is up now, because mdns-sd joins them when they come up.
    ///
    /// # Errors
    /// [`DnsSdError::Socket`] if mdns-sd cannot open the port on any interface, or [`DnsSdError::Mdns`] if the system
    /// refuses a thread.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(peer: PeerId, interfaces: Interfaces) -> Result<Self, DnsSdError> {
        let daemon = ServiceDaemon::new()?;
        let this = Self {
            _guard: AbortOnDropHandle::new(tokio::spawn(guard(daemon.clone()))),
            daemon,
            peer,
            permit_loopback: interfaces.permit_loopback(),
            advertised: BTreeMap::new(),
            browser: None,
        };
        this.join(interfaces).await?;
        Ok(this)
    }

    /// Leaves all interfaces that mdns-sd has joined at its start, and joins the chosen interfaces.
    ///
    /// mdns-sd does not report a failure to open a socket, but it reports every interface address that it leaves or
    /// joins. So if mdns-sd reports no address, it has no socket.
    async fn join(&self, interfaces: Interfaces) -> Result<(), DnsSdError> {
        let events = self.daemon.monitor()?;
        self.daemon.disable_interface(IfKind::All)?;
        self.daemon.enable_interface(interfaces.clone().into_kind())?;
        reply(self.daemon.status()?).await?;
        let (mut left, mut joined) = (false, false);
        for event in events.try_iter() {
            left |= matches!(event, DaemonEvent::IpDel(_));
            joined |= matches!(event, DaemonEvent::IpAdd(_));
        }
        if !left && !joined {
            return Err(DnsSdError::Socket);
        }
        if !joined {
            tracing::warn!(?interfaces, "DNS-SD waits for a network interface to come up");
        }
        Ok(())
    }

    /// Announces `adverts` on the local network. `tcp_port` is the TCP port on which this node accepts connections.
    /// Withdraws every earlier advert that is not in `adverts`. If two adverts have the same name, announces only the
    /// last one.
    ///
    /// # Errors
    /// [`DnsSdError::TooMany`] if there are more than [`MAX_ADVERTS`]. Then nothing is announced. Another error if
    /// DNS-SD has ended or does not answer. Then some of the adverts may have been announced or withdrawn.
    pub async fn advertise(&mut self, tcp_port: u16, adverts: &[Advert]) -> Result<(), DnsSdError> {
        if adverts.len() > MAX_ADVERTS {
            return Err(DnsSdError::TooMany { given: adverts.len() });
        }
        let mut wanted = BTreeMap::new();
        for advert in adverts {
            let info = record::announcement(&self.peer, tcp_port, advert)?;
            wanted.insert(info.get_fullname().to_owned(), (info, (tcp_port, advert.clone())));
        }
        let gone: Vec<String> = self.advertised.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for instance in gone {
            command(|| self.daemon.unregister(&instance)).await?;
            self.advertised.remove(&instance);
        }
        for (instance, (info, advert)) in wanted {
            if self.advertised.get(&instance) != Some(&advert) {
                command(|| self.daemon.register(info.clone())).await?;
                self.advertised.insert(instance, advert);
            }
        }
        Ok(())
    }

    /// Returns a channel with the releases that peers announce. A release is sent when it is new, and again when it
    /// changes or returns.
    ///
    /// Only one channel is open at a time. It ends when `browse` is called again, the `DnsSd` is dropped or DNS-SD has
    /// ended. While 256 instances wait for a slow receiver, further instances are dropped.
    ///
    /// # Errors
    /// If DNS-SD has ended or does not answer.
    pub async fn browse(&mut self) -> Result<mpsc::Receiver<LocalRelease>, DnsSdError> {
        self.browser = None;
        let events = command(|| self.daemon.browse(SERVICE_TYPE)).await?;
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        let browser = Browser { daemon: self.daemon.clone(), own: self.peer, permit_loopback: self.permit_loopback };
        self.browser = Some(AbortOnDropHandle::new(tokio::spawn(browser.run(events, found))));
        Ok(receiver)
    }

    /// Withdraws every advert, so that peers forget this node at once. Waits until the withdrawals are sent and mdns-sd
    /// has ended. If the local network is flooded, stops waiting after some seconds.
    pub async fn stop(self) {
        match command(|| self.daemon.shutdown()).await {
            Ok(ended) => drop(reply(ended).await),
            Err(error) => tracing::debug!(%error, "DNS-SD has already ended"),
        }
    }
}

impl Drop for DnsSd {
    /// Ends the thread of mdns-sd. Without this command the thread would run until the end of the process, because it
    /// holds a sender of its own command queue.
    fn drop(&mut self) {
        // `Again` means that the command queue is full. The loop ends, because the thread keeps emptying the queue.
        while let Err(mdns_sd::Error::Again) = self.daemon.shutdown() {
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Calls `send`, which sends a command to mdns-sd, and retries while the command queue is full.
async fn command<T>(mut send: impl FnMut() -> Result<T, mdns_sd::Error>) -> Result<T, DnsSdError> {
    let sent = async {
        loop {
            match send() {
                Err(mdns_sd::Error::Again) => tokio::time::sleep(RETRY_PAUSE).await,
                result => return result,
            }
        }
    };
    Ok(tokio::time::timeout(REPLY_TIMEOUT, sent).await.map_err(|_| DnsSdError::Busy)??)
}

/// Waits for the answer from mdns-sd to a command.
async fn reply<T>(receiver: mdns_sd::Receiver<T>) -> Result<T, DnsSdError> {
    let answer = tokio::time::timeout(REPLY_TIMEOUT, receiver.recv_async()).await.map_err(|_| DnsSdError::Busy)?;
    answer.map_err(|_| DnsSdError::Ended)
}

/// Checks mdns-sd regularly, and ends it when it holds more than [`MAX_HELD`] records and timers. Logs a warning if
/// mdns-sd has ended by itself.
async fn guard(daemon: ServiceDaemon) {
    loop {
        tokio::time::sleep(GUARD_INTERVAL).await;
        let metrics = match command(|| daemon.get_metrics()).await {
            Ok(metrics) => reply(metrics).await,
            Err(error) => Err(error),
        };
        match metrics.map(|metrics| held(&metrics)) {
            Ok(held) if held > MAX_HELD => {
                tracing::warn!(held, "stopping DNS-SD: the local network is flooded with mDNS records");
                drop(command(|| daemon.shutdown()).await);
                return;
            }
            Ok(_) | Err(DnsSdError::Busy) => {}
            Err(error) => {
                tracing::warn!(%error, "DNS-SD stopped working");
                return;
            }
        }
    }
}

/// Returns the number of records and timers in mdns-sd, from its metrics.
fn held(metrics: &Metrics) -> i64 {
    let counts = metrics.iter().filter(|(counter, _)| counter.starts_with("cached-") || *counter == "timer");
    counts.map(|(_, count)| *count).fold(0, i64::saturating_add)
}
