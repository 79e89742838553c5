//! The thread of mdns-sd, and what it is told to do.

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

/// What waits in a channel of [`DnsSd::browse`]; the browser itself holds back more, see `browser`.
const FOUND_QUEUE: usize = 16;
/// How long mdns-sd may take to answer. It answers between packets, so only a flood delays it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a command is given again that mdns-sd had no room for (it queues 100).
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How often the memory of mdns-sd is looked at.
const GUARD_INTERVAL: Duration = Duration::from_secs(1);
/// Records and timers that mdns-sd may hold; a hundred hosts with ten services each need about 6000.
const MAX_HELD: i64 = 20_000;

/// Which network interfaces are used. Those that come up later are used as well, within seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// All but loopback and point-to-point ones. Nobody's loopback addresses are believed.
    #[default]
    AllButLoopback,
    /// Those of these names, for instance `eth0` or `lo`.
    Named(Vec<String>),
}

impl Interfaces {
    /// Loopback addresses mean something only if loopback may have been asked for.
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

/// The node's part in DNS-SD. [`stop`](Self::stop) says goodbye and waits for that; dropping it says goodbye too, but
/// only as long as the process lives on.
pub struct DnsSd {
    daemon: ServiceDaemon,
    peer: PeerId,
    permit_loopback: bool,
    /// What others were told, by full instance name.
    advertised: BTreeMap<String, (u16, Advert)>,
    browser: Option<AbortOnDropHandle<()>>,
    _guard: AbortOnDropHandle<()>,
}

impl DnsSd {
    /// Opens the mDNS port and joins the interfaces. Nothing is sent before something is advertised or browsed for.
    ///
    /// It is no error if none of the interfaces is up: they may come up later.
    ///
    /// # Errors
    /// The port cannot be had, or the system refuses a thread.
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

    /// Leaves all interfaces, where mdns-sd begins, and joins the wanted ones. It tells of every address it leaves or
    /// joins, and of nothing without a socket: failures to open one it keeps to itself.
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
            tracing::warn!(?interfaces, "no interface for DNS-SD yet");
        }
        Ok(())
    }

    /// Tells the local network what this node serves on `tcp_port`; replaces what it was told before. What is no longer
    /// there is withdrawn. Of two adverts of one name the last counts.
    ///
    /// # Errors
    /// More than [`MAX_ADVERTS`], or DNS-SD has ended; then some of it may have been told.
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

    /// What others serve, each release once, and again when it changes or comes back. It ends with the `DnsSd`, and when
    /// `browse` is called again: there is one listener at a time. A slow reader loses the least recent of very many.
    ///
    /// # Errors
    /// DNS-SD has ended.
    pub async fn browse(&mut self) -> Result<mpsc::Receiver<LocalRelease>, DnsSdError> {
        self.browser = None;
        let events = command(|| self.daemon.browse(SERVICE_TYPE)).await?;
        let (found, receiver) = mpsc::channel(FOUND_QUEUE);
        let browser = Browser { daemon: self.daemon.clone(), own: self.peer, permit_loopback: self.permit_loopback };
        self.browser = Some(AbortOnDropHandle::new(tokio::spawn(browser.run(events, found))));
        Ok(receiver)
    }

    /// Withdraws everything, so that others forget this node at once, and waits until that is said and mdns-sd has
    /// ended; under a flood only for some seconds.
    pub async fn stop(self) {
        match command(|| self.daemon.shutdown()).await {
            Ok(ended) => drop(reply(ended).await),
            Err(error) => tracing::debug!(%error, "DNS-SD had ended before"),
        }
    }
}

impl Drop for DnsSd {
    /// The thread of mdns-sd holds a sender of its own commands: without this it would never end.
    fn drop(&mut self) {
        // Of what the queue holds at most 64 are ours for an advertisement; the thread is on its way through them.
        while let Err(mdns_sd::Error::Again) = self.daemon.shutdown() {
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Gives a command to mdns-sd, again and again while its queue is full.
async fn command<T>(mut give: impl FnMut() -> Result<T, mdns_sd::Error>) -> Result<T, DnsSdError> {
    let given = async {
        loop {
            match give() {
                Err(mdns_sd::Error::Again) => tokio::time::sleep(RETRY_PAUSE).await,
                done => return done,
            }
        }
    };
    Ok(tokio::time::timeout(REPLY_TIMEOUT, given).await.map_err(|_| DnsSdError::Busy)??)
}

/// The answer to a command.
async fn reply<T>(receiver: mdns_sd::Receiver<T>) -> Result<T, DnsSdError> {
    let answer = tokio::time::timeout(REPLY_TIMEOUT, receiver.recv_async()).await.map_err(|_| DnsSdError::Busy)?;
    answer.map_err(|_| DnsSdError::Ended)
}

/// Ends mdns-sd when it holds too much, and tells if it has ended on its own.
async fn guard(daemon: ServiceDaemon) {
    loop {
        tokio::time::sleep(GUARD_INTERVAL).await;
        let metrics = match command(|| daemon.get_metrics()).await {
            Ok(metrics) => reply(metrics).await,
            Err(error) => Err(error),
        };
        match metrics.map(|metrics| held(&metrics)) {
            Ok(held) if held > MAX_HELD => {
                tracing::warn!(held, "the local network is flooded with mDNS records: DNS-SD ends");
                drop(command(|| daemon.shutdown()).await);
                return;
            }
            Ok(_) | Err(DnsSdError::Busy) => {}
            Err(error) => {
                tracing::warn!(%error, "no DNS-SD any more");
                return;
            }
        }
    }
}

/// How many records and timers mdns-sd holds.
fn held(metrics: &Metrics) -> i64 {
    let counts = metrics.iter().filter(|(counter, _)| counter.starts_with("cached-") || *counter == "timer");
    counts.map(|(_, count)| *count).fold(0, i64::saturating_add)
}
