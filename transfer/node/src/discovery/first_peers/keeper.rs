//! Keeps the file of good peers up to date while a node runs, so that a network outlives the nodes it was begun with.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::discovery::first_peers::remembered::RememberedPeers;
use crate::discovery::first_peers::source::BootstrapPeer;

/// So many peers are remembered even if they are no longer connected: who has lost sight of everybody should try those of
/// earlier times.
const ENOUGH: usize = 16;

/// A peer and where it can be dialled.
type Known = (PeerId, Vec<Multiaddr>);

/// The task that keeps a file of good peers. Dropping it ends it without saving.
pub struct RememberedPeersKeeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RememberedPeersKeeper {
    /// Looks every `interval` which peers are good, and saves them if they have changed.
    ///
    /// `earlier` is what is in the file, `own` the peer id of the node, which is not its own peer. `good` says which peers are
    /// good at present: usually [`NodeHandle::good_peers`](crate::NodeHandle::good_peers).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        file: RememberedPeers,
        earlier: &[BootstrapPeer],
        interval: Duration,
        own: PeerId,
        good: impl Fn() -> Vec<(PeerId, Vec<Multiaddr>)> + Send + 'static,
    ) -> Self {
        let saved = by_peer(earlier, own);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(Keeper { file, saved, good }.run(interval, stopped));
        Self { stop, task }
    }

    /// Saves a last time.
    pub async fn stop(self) {
        // Fails only if the task has panicked: then there is nobody to save anything.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Keeper<F> {
    file: RememberedPeers,
    /// What is in the file, or could not be written to it.
    saved: Vec<Known>,
    good: F,
}

impl<F: Fn() -> Vec<Known>> Keeper<F> {
    async fn run(mut self, interval: Duration, mut stopped: oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                stopped = &mut stopped => {
                    if stopped.is_ok() {
                        self.save().await;
                    }
                    return;
                }
                _ = tick.tick() => self.save().await,
            }
        }
    }

    async fn save(&mut self) {
        let known = merge((self.good)(), &self.saved);
        if known == self.saved {
            return;
        }
        self.saved.clone_from(&known);
        let file = self.file.clone();
        match tokio::task::spawn_blocking(move || file.save(&known)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(error) => tracing::warn!(%error, "the worker that saves peers failed"),
        }
    }
}

/// Those that are good now, then earlier ones until there are enough.
fn merge(mut good: Vec<Known>, earlier: &[Known]) -> Vec<Known> {
    for known in earlier {
        if good.len() >= ENOUGH {
            break;
        }
        if !good.iter().any(|(peer, _)| *peer == known.0) {
            good.push(known.clone());
        }
    }
    good
}

/// The peers of a file with all addresses of each, in its order, without ourselves.
fn by_peer(listed: &[BootstrapPeer], ourselves: PeerId) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    for BootstrapPeer { peer, address } in listed {
        let Some(peer) = peer.filter(|peer| *peer != ourselves) else { continue };
        match all.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, addresses)) => addresses.push(address.clone()),
            None => all.push((peer, vec![address.clone()])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(count: u16) -> Vec<Known> {
        (0..count).map(|n| (PeerId::random(), vec![format!("/ip4/192.0.2.7/tcp/{}", n + 1).parse().unwrap()])).collect()
    }

    #[test]
    fn who_is_good_now_comes_first_and_earlier_ones_fill_up() {
        let (now, earlier) = (known(3), known(20));
        assert_eq!(merge(Vec::new(), &earlier[..5]), earlier[..5]);
        assert_eq!(merge(now.clone(), &[]), now);
        let merged = merge(now.clone(), &earlier);
        assert_eq!(merged, [&now, &earlier[..ENOUGH - 3]].concat());
        assert_eq!(merge(now.clone(), &merged), merged);
        assert_eq!(merge(known(30), &earlier).len(), 30);
        // What is newly known of a peer replaces what was.
        let moved = vec![(earlier[1].0, now[0].1.clone())];
        assert_eq!(merge(moved.clone(), &earlier[..3]), [&moved[..], &earlier[..1], &earlier[2..3]].concat());
    }

    #[test]
    fn a_file_lists_addresses_and_we_are_not_our_own_peer() {
        let peers = known(3);
        let at = |n: usize| BootstrapPeer { peer: Some(peers[n].0), address: peers[n].1[0].clone() };
        let second = BootstrapPeer { address: "/ip4/192.0.2.8/tcp/1".parse().unwrap(), ..at(0) };
        let expected = vec![(peers[0].0, vec![at(0).address, second.address.clone()]), peers[2].clone()];
        assert_eq!(by_peer(&[at(0), at(1), second, at(2)], peers[1].0), expected);
    }
}
