//! What goes wrong in a network: proxies are cut, proxies stand still, providers stop and start again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::Actor;
use super::depot::Depot;
use super::tcp_proxy::TcpProxy;

/// The time between two cuts, in seconds. With a dozen proxies each is cut about twice a minute.
const CUT_EVERY: (f64, f64) = (0.5, 4.0);
/// The time between two freezes, and how long one lasts, in seconds.
const FREEZE_EVERY: (f64, f64) = (1.0, 5.0);
const FREEZE_FOR: (f64, f64) = (0.5, 5.0);
/// The time between two stops of a provider, and how long it is down, in seconds.
const STOP_EVERY: (f64, f64) = (3.0, 10.0);
const DOWN_FOR: (f64, f64) = (0.0, 3.0);

/// All proxies, by client and provider.
pub(super) type Proxies = Vec<Arc<Vec<TcpProxy>>>;

/// Cuts proxies that are in use.
pub(super) async fn cut(proxies: Proxies, actor: Actor, mut random: fastrand::Rng) {
    while actor.ready().await {
        actor.pause(between(&mut random, CUT_EVERY)).await;
        if let (true, Some(proxy)) = (actor.is_load(), any_used(&proxies, &mut random)) {
            proxy.cut();
        }
    }
}

/// Freezes proxies that are in use, one at a time.
pub(super) async fn freeze(proxies: Proxies, actor: Actor, mut random: fastrand::Rng) {
    while actor.ready().await {
        actor.pause(between(&mut random, FREEZE_EVERY)).await;
        if let (true, Some(proxy)) = (actor.is_load(), any_used(&proxies, &mut random)) {
            let _frozen = proxy.freeze();
            actor.pause(between(&mut random, FREEZE_FOR)).await;
            actor.board().count(|counts| counts.freezes += 1);
        }
    }
}

/// Stops or kills one provider at a time, and starts it again.
pub(super) async fn restart(depots: Vec<Arc<Depot>>, actor: Actor, mut random: fastrand::Rng) {
    while actor.ready().await {
        actor.pause(between(&mut random, STOP_EVERY)).await;
        if !actor.is_load() {
            continue;
        }
        let (number, politely) = (random.usize(..depots.len()), random.bool());
        actor.begin(format!("stops provider {number}"));
        let stopped = Instant::now();
        depots[number].stop(politely).await;
        actor.pause(between(&mut random, DOWN_FOR)).await;
        actor.begin(format!("starts provider {number}"));
        match depots[number].restart().await {
            Ok(()) => actor.board().count(|counts| {
                counts.restarts += 1;
                let down = u64::try_from(stopped.elapsed().as_millis()).unwrap_or(u64::MAX);
                counts.longest_down = counts.longest_down.max(down);
            }),
            Err(error) => actor.wrong(&format!("provider {number} does not start again: {error}")),
        }
    }
}

fn any_used<'a>(proxies: &'a Proxies, random: &mut fastrand::Rng) -> Option<&'a TcpProxy> {
    let used: Vec<_> = proxies.iter().flat_map(|proxies| proxies.iter()).filter(|proxy| proxy.is_used()).collect();
    random.choice(used)
}

fn between(random: &mut fastrand::Rng, (least, most): (f64, f64)) -> Duration {
    Duration::from_secs_f64(least + random.f64() * (most - least))
}
