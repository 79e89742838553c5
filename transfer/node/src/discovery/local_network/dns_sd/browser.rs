//! Turns the service instances that mdns-sd resolves into releases. Keeps a bounded number of instances.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::sync::mpsc;

use crate::discovery::local_network::dns_sd::record;
use crate::discovery::local_network::dns_sd::release::{LocalRelease, SERVICE_TYPE};

/// The maximum number of service instances that the browser keeps in order to report each of them only once. A typical
/// local network has a few.
const MAX_INSTANCES: usize = 256;
/// The pause before the browser subscribes again. mdns-sd ends a subscription when 1000 events wait in its channel, for
/// example in a flood of packets.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// The task that receives the releases that peers announce.
pub(crate) struct Browser {
    pub(crate) daemon: ServiceDaemon,
    /// The peer id of this node, so that its own announcements are ignored.
    pub(crate) own: PeerId,
    /// Whether loopback addresses of peers are accepted.
    pub(crate) permit_loopback: bool,
}

impl Browser {
    /// Sends each release to `found` when it is new, and again when it changes or returns. Ends when mdns-sd has ended,
    /// or when the receiver of `found` is dropped.
    pub(crate) async fn run(self, mut events: Receiver<ServiceEvent>, found: mpsc::Sender<LocalRelease>) {
        let mut instances = Instances::default();
        loop {
            tokio::select! {
                event = events.recv_async() => match event {
                    Ok(event) => self.handle_event(event, &mut instances),
                    Err(_) => {
                        tokio::time::sleep(FLOOD_PAUSE).await;
                        match self.daemon.browse(SERVICE_TYPE) {
                            Ok(again) => events = again,
                            Err(mdns_sd::Error::Again) => {}
                            Err(_) => return,
                        }
                    }
                },
                permit = found.reserve(), if instances.has_unreported() => match (permit, instances.next_unreported()) {
                    (Ok(permit), Some(release)) => permit.send(release),
                    _ => break,
                },
                () = found.closed() => break,
            }
        }
        // This call fails if the command queue of mdns-sd is full. Then mdns-sd ends the subscription at its next
        // event, because this function drops `events`.
        drop(self.daemon.stop_browse(SERVICE_TYPE));
    }

    fn handle_event(&self, event: ServiceEvent, instances: &mut Instances) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.handle_resolved(*service, instances),
            ServiceEvent::ServiceRemoved(_, instance) => instances.remove(&instance),
            _ => {}
        }
    }

    fn handle_resolved(&self, service: ResolvedService, instances: &mut Instances) {
        match record::parse(&service, self.permit_loopback) {
            Ok(release) if release.peer == self.own => {}
            Ok(release) => instances.insert(service.fullname, release),
            Err(error) => {
                tracing::debug!(instance = ?service.fullname, %error, "ignoring a malformed DNS-SD instance");
                instances.remove(&service.fullname);
            }
        }
    }
}

/// The release that one service instance announces.
struct Instance {
    release: LocalRelease,
    /// Whether the browser has sent the release to its receiver.
    is_reported: bool,
    /// The sequence number of the instance. The oldest instance has the lowest number.
    order: u64,
}

/// The service instances that the browser keeps, by full instance name.
#[derive(Default)]
struct Instances {
    by_name: BTreeMap<String, Instance>,
    next_order: u64,
}

impl Instances {
    /// Adds or updates an instance. If `release` differs from the known release of the instance, it is reported.
    ///
    /// A new instance replaces the oldest reported instance if the table already has [`MAX_INSTANCES`]. If the table
    /// has no reported instance, the new instance is dropped.
    fn insert(&mut self, instance: String, release: LocalRelease) {
        let known = self.by_name.get(&instance);
        if known.is_some_and(|known| known.release == release) {
            return;
        }
        if known.is_none() && self.by_name.len() >= MAX_INSTANCES {
            let Some(oldest) = self.first(true).cloned() else { return };
            self.by_name.remove(&oldest);
        }
        // An unreported instance keeps its sequence number. With a new number, an instance that changes often would
        // never be reported.
        let order = match self.by_name.get(&instance) {
            Some(known) if !known.is_reported => known.order,
            _ => self.next_order,
        };
        self.next_order += 1;
        self.by_name.insert(instance, Instance { release, is_reported: false, order });
    }

    /// Removes a service instance, so that its release is reported again if the instance returns.
    fn remove(&mut self, instance: &str) {
        self.by_name.remove(instance);
    }

    fn has_unreported(&self) -> bool {
        self.first(false).is_some()
    }

    /// Returns the oldest unreported release and marks it as reported.
    fn next_unreported(&mut self) -> Option<LocalRelease> {
        let name = self.first(false)?.clone();
        let instance = self.by_name.get_mut(&name)?;
        instance.is_reported = true;
        Some(instance.release.clone())
    }

    /// Returns the name of the oldest instance among those that have this value of `is_reported`.
    fn first(&self, is_reported: bool) -> Option<&String> {
        let matching = self.by_name.iter().filter(|(_, instance)| instance.is_reported == is_reported);
        matching.min_by_key(|(_, instance)| instance.order).map(|(name, _)| name)
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
    fn a_release_is_reported_once_and_again_when_it_changes_or_returns() {
        let mut instances = Instances::default();
        let (first, second) = (release(1), release(2));
        instances.insert("a".into(), first.clone());
        instances.insert("b".into(), second.clone());
        assert_eq!(instances.next_unreported(), Some(first.clone()));
        assert_eq!(instances.next_unreported(), Some(second.clone()));
        instances.insert("a".into(), first.clone());
        assert!(!instances.has_unreported());
        instances.insert("a".into(), second.clone());
        assert_eq!(instances.next_unreported(), Some(second.clone()));
        instances.remove("b");
        instances.insert("b".into(), second.clone());
        assert_eq!(instances.next_unreported(), Some(second));
        assert_eq!(instances.next_unreported(), None);
    }

    #[test]
    fn an_instance_that_changes_often_is_reported_and_delays_no_other() {
        let mut instances = Instances::default();
        instances.insert("restless".into(), release(1));
        instances.insert("calm".into(), release(2));
        instances.insert("restless".into(), release(3));
        assert_eq!(instances.next_unreported().unwrap().version, 3);
        instances.insert("restless".into(), release(4));
        assert_eq!(instances.next_unreported().unwrap().version, 2);
    }

    #[test]
    fn a_full_table_evicts_reported_instances_and_keeps_unreported_ones() {
        let mut instances = Instances::default();
        instances.insert("reported".into(), release(0));
        instances.next_unreported();
        for number in 1..=2 * MAX_INSTANCES as u64 {
            instances.insert(format!("instance {number}"), release(number));
            assert!(instances.by_name.len() <= MAX_INSTANCES);
        }
        assert!(!instances.by_name.contains_key("reported"));
        for number in 1..=MAX_INSTANCES as u64 {
            assert_eq!(instances.next_unreported().unwrap().version, number);
        }
        assert!(!instances.has_unreported());
        instances.insert("late".into(), release(1));
        assert!(instances.has_unreported());
        assert!(!instances.by_name.contains_key("instance 1"));
    }
}
