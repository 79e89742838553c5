//! Turns what mdns-sd resolves into releases, with bounds on what is remembered of it.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::sync::mpsc;

use crate::discovery::local_network::dns_sd::record;
use crate::discovery::local_network::dns_sd::release::{LocalRelease, SERVICE_TYPE};

/// Instances that are remembered, so that each is told once; a local network has a handful.
const MAX_HEARD: usize = 256;
/// Pause before mdns-sd is asked again after it has ended the subscription: it does so when 1000 events wait.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// Listens for what others serve.
pub(crate) struct Browser {
    pub(crate) daemon: ServiceDaemon,
    /// Our own id: what we say ourselves is no news.
    pub(crate) own: PeerId,
    pub(crate) permit_loopback: bool,
}

impl Browser {
    /// Runs until mdns-sd has ended or nobody wants to know any more.
    pub(crate) async fn run(self, mut events: Receiver<ServiceEvent>, found: mpsc::Sender<LocalRelease>) {
        let mut heard = Heard::default();
        loop {
            tokio::select! {
                event = events.recv_async() => match event {
                    Ok(event) => self.take(event, &mut heard),
                    Err(_) => {
                        tokio::time::sleep(FLOOD_PAUSE).await;
                        match self.daemon.browse(SERVICE_TYPE) {
                            Ok(again) => events = again,
                            Err(mdns_sd::Error::Again) => {}
                            Err(_) => return,
                        }
                    }
                },
                room = found.reserve(), if heard.has_news() => match (room, heard.next_news()) {
                    (Ok(room), Some(release)) => room.send(release),
                    _ => break,
                },
                () = found.closed() => break,
            }
        }
        // If there is no room for it, the subscription ends by itself when it is full.
        drop(self.daemon.stop_browse(SERVICE_TYPE));
    }

    fn take(&self, event: ServiceEvent, heard: &mut Heard) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.resolved(*service, heard),
            ServiceEvent::ServiceRemoved(_, instance) => heard.forget(&instance),
            _ => {}
        }
    }

    fn resolved(&self, service: ResolvedService, heard: &mut Heard) {
        match record::parse(&service, self.permit_loopback) {
            Ok(release) if release.peer == self.own => {}
            Ok(release) => heard.insert(service.fullname, release),
            Err(error) => {
                tracing::debug!(instance = ?service.fullname, %error, "ignoring a DNS-SD instance");
                heard.forget(&service.fullname);
            }
        }
    }
}

/// What one instance says.
struct Saying {
    release: LocalRelease,
    /// Whether the listener has it.
    told: bool,
    /// Position in the order in which things were heard.
    turn: u64,
}

/// What is remembered, by full instance name.
#[derive(Default)]
struct Heard {
    sayings: BTreeMap<String, Saying>,
    turns: u64,
}

impl Heard {
    /// Remembers `release`; it is news unless the instance said just that before. When there is no room, what the
    /// listener has had for longest is forgotten; if it has had nothing, the newcomer is.
    fn insert(&mut self, instance: String, release: LocalRelease) {
        let known = self.sayings.get(&instance);
        if known.is_some_and(|saying| saying.release == release) {
            return;
        }
        if known.is_none() && self.sayings.len() >= MAX_HEARD {
            let Some(oldest) = self.first(true).cloned() else { return };
            self.sayings.remove(&oldest);
        }
        // A saying that changes before it was told keeps its turn, else one that changes all the time would never have it.
        let turn = match self.sayings.get(&instance) {
            Some(saying) if !saying.told => saying.turn,
            _ => self.turns,
        };
        self.turns += 1;
        self.sayings.insert(instance, Saying { release, told: false, turn });
    }

    /// Forgets an instance: if it comes back, that is news.
    fn forget(&mut self, instance: &str) {
        self.sayings.remove(instance);
    }

    fn has_news(&self) -> bool {
        self.first(false).is_some()
    }

    /// What the listener is told next.
    fn next_news(&mut self) -> Option<LocalRelease> {
        let instance = self.first(false)?.clone();
        let saying = self.sayings.get_mut(&instance)?;
        saying.told = true;
        Some(saying.release.clone())
    }

    fn first(&self, told: bool) -> Option<&String> {
        let sayings = self.sayings.iter().filter(|(_, saying)| saying.told == told);
        sayings.min_by_key(|(_, saying)| saying.turn).map(|(instance, _)| instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: u64) -> LocalRelease {
        let addresses = vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()];
        let name = "stable/x86_64".parse().unwrap();
        LocalRelease { peer: PeerId::random(), addresses, name, version, http_port: None }
    }

    #[test]
    fn each_saying_is_news_once_and_again_when_it_changes_or_comes_back() {
        let mut heard = Heard::default();
        let (first, second) = (release(1), release(2));
        heard.insert("a".into(), first.clone());
        heard.insert("b".into(), second.clone());
        assert_eq!(heard.next_news(), Some(first.clone()));
        assert_eq!(heard.next_news(), Some(second.clone()));
        heard.insert("a".into(), first.clone());
        assert!(!heard.has_news());
        heard.insert("a".into(), second.clone());
        assert_eq!(heard.next_news(), Some(second.clone()));
        heard.forget("b");
        heard.insert("b".into(), second.clone());
        assert_eq!(heard.next_news(), Some(second));
        assert_eq!(heard.next_news(), None);
    }

    #[test]
    fn what_changes_all_the_time_neither_waits_forever_nor_keeps_others_waiting() {
        let mut heard = Heard::default();
        heard.insert("restless".into(), release(1));
        heard.insert("calm".into(), release(2));
        heard.insert("restless".into(), release(3));
        assert_eq!(heard.next_news().unwrap().version, 3);
        heard.insert("restless".into(), release(4));
        assert_eq!(heard.next_news().unwrap().version, 2);
    }

    #[test]
    fn a_crowd_displaces_what_was_told_and_never_what_waits() {
        let mut heard = Heard::default();
        heard.insert("told".into(), release(0));
        heard.next_news();
        for number in 1..=2 * MAX_HEARD as u64 {
            heard.insert(format!("instance {number}"), release(number));
            assert!(heard.sayings.len() <= MAX_HEARD);
        }
        assert!(!heard.sayings.contains_key("told"));
        for number in 1..=MAX_HEARD as u64 {
            assert_eq!(heard.next_news().unwrap().version, number);
        }
        assert!(!heard.has_news());
        heard.insert("late".into(), release(1));
        assert!(heard.has_news());
        assert!(!heard.sayings.contains_key("instance 1"));
    }
}
