//! Saves the connected DHT servers of a running node as remembered peers, so that the node can join the network again
//! even if all of its bootstrap peers have left.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::discovery::bootstrap::remembered::RememberedPeers;
use crate::discovery::bootstrap::source::BootstrapPeer;

/// The minimum number of saved peers. If fewer DHT servers are connected, peers of the previous save fill the list. So
/// a node that has lost all connections still has peers to dial.
const MIN_REMEMBERED: usize = 16;

/// A peer id and the addresses of the peer.
type Known = (PeerId, Vec<Multiaddr>);

/// The keeper: a task that saves the remembered peers of a running node at a fixed interval. Dropping this handle ends
/// the task without saving.
pub struct RememberedPeersKeeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RememberedPeersKeeper {
    /// Starts a task that saves the peers that `good` returns, for instance
    /// [`NodeHandle::connected_dht_servers`](crate::NodeHandle::connected_dht_servers). The task calls `good` at once
    /// and then every `interval`. It saves only if the peers have changed.
    ///
    /// `earlier` is the current content of the file. `own` is the peer id of this node, which is removed from
    /// `earlier`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
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

    /// Saves the peers one last time and ends the task.
    pub async fn stop(self) {
        // Sending and waiting fail only if the task has panicked. Then the peers cannot be saved.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Keeper<F> {
    file: RememberedPeers,
    /// The peers that the task last tried to save. Before the first attempt: the peers in the file. The task saves only
    /// if the peers differ from these.
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
            Err(error) => tracing::warn!(%error, "the task that saves remembered peers failed"),
        }
    }
}

/// Returns the peers in `good`. If there are fewer than [`MIN_REMEMBERED`], adds peers from `earlier` up to this
/// number.
fn merge(mut good: Vec<Known>, earlier: &[Known]) -> Vec<Known> {
    for known in earlier {
        if good.len() >= MIN_REMEMBERED {
            break;
        }
        if !good.iter().any(|(peer, _)| *peer == known.0) {
            good.push(known.clone());
        }
    }
    good
}

/// Groups the addresses of `listed` by peer, and keeps their order. Leaves out the peer `own`, which is this node, and
/// addresses without a peer id.
fn by_peer(listed: &[BootstrapPeer], own: PeerId) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    for BootstrapPeer { peer, address } in listed {
        let Some(peer) = peer.filter(|peer| *peer != own) else { continue };
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
    fn good_peers_come_first_and_earlier_peers_fill_the_list() {
        let (now, earlier) = (known(3), known(20));
        assert_eq!(merge(Vec::new(), &earlier[..5]), earlier[..5]);
        assert_eq!(merge(now.clone(), &[]), now);
        let merged = merge(now.clone(), &earlier);
        assert_eq!(merged, [&now, &earlier[..MIN_REMEMBERED - 3]].concat());
        assert_eq!(merge(now.clone(), &merged), merged);
        assert_eq!(merge(known(30), &earlier).len(), 30);
        // `merge` keeps the first entry of a peer that is in both lists.
        let moved = vec![(earlier[1].0, now[0].1.clone())];
        assert_eq!(merge(moved.clone(), &earlier[..3]), [&moved[..], &earlier[..1], &earlier[2..3]].concat());
    }

    #[test]
    fn addresses_are_grouped_by_peer_and_this_node_is_left_out() {
        let peers = known(3);
        let at = |n: usize| BootstrapPeer { peer: Some(peers[n].0), address: peers[n].1[0].clone() };
        let second = BootstrapPeer { address: "/ip4/192.0.2.8/tcp/1".parse().unwrap(), ..at(0) };
        let expected = vec![(peers[0].0, vec![at(0).address, second.address.clone()]), peers[2].clone()];
        assert_eq!(by_peer(&[at(0), at(1), second, at(2)], peers[1].0), expected);
    }
}
