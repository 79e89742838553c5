//! Causes the faults of a soak: cuts and freezes proxies, stops providers and starts them again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::Actor;
use super::provider::RestartableProvider;
use super::tcp_proxy::TcpProxy;

/// The shortest and the longest time between two cuts, in seconds. With a dozen proxies, each is cut about twice a
/// minute.
const CUT_EVERY: (f64, f64) = (0.5, 4.0);
/// The shortest and the longest time between two freezes, in seconds.
const FREEZE_EVERY: (f64, f64) = (1.0, 5.0);
/// The shortest and the longest duration of a freeze, in seconds.
const FREEZE_FOR: (f64, f64) = (0.5, 5.0);
/// The shortest and the longest time between two stops of a provider, in seconds.
const STOP_EVERY: (f64, f64) = (3.0, 10.0);
/// The shortest and the longest time until a stopped provider is started again, in seconds.
const DOWN_FOR: (f64, f64) = (0.0, 3.0);

/// The proxies of all clients. Each client has one proxy to each provider.
pub(super) type Proxies = Vec<Arc<Vec<TcpProxy>>>;

/// Cuts one proxy at a time, chosen from the proxies that are in use.
pub(super) async fn cut(proxies: Proxies, actor: Actor, mut random: fastrand::Rng) {
    while actor.ready().await {
        actor.pause(between(&mut random, CUT_EVERY)).await;
        if let (true, Some(proxy)) = (actor.is_load(), any_used(&proxies, &mut random)) {
            proxy.cut();
        }
    }
}

/// Freezes one proxy at a time for a while, chosen from the proxies that are in use.
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
pub(super) async fn restart(providers: Vec<Arc<RestartableProvider>>, actor: Actor, mut random: fastrand::Rng) {
    while actor.ready().await {
        actor.pause(between(&mut random, STOP_EVERY)).await;
        if !actor.is_load() {
            continue;
        }
        let (number, is_graceful) = (random.usize(..providers.len()), random.bool());
        actor.begin(format!("stops provider {number}"));
        let stopped = Instant::now();
        providers[number].stop(is_graceful).await;
        actor.pause(between(&mut random, DOWN_FOR)).await;
        actor.begin(format!("starts provider {number}"));
        match providers[number].restart().await {
            Ok(()) => actor.board().count(|counts| {
                counts.restarts += 1;
                let down = u64::try_from(stopped.elapsed().as_millis()).unwrap_or(u64::MAX);
                counts.longest_down = counts.longest_down.max(down);
            }),
            Err(error) => actor.record_failure(&format!("provider {number} does not start again: {error}")),
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
