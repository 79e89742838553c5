//! T_min: a lower bound for the time to distribute artifacts. Measured times are compared with it.

/// Returns T_min in seconds: no schedule can distribute `size` bytes to all clients in less time.
///
/// T_min is `max(F/Σu_s, F/d_min, N·F/(Σu_s + Σu_i))` (Kumar and Ross 2006). F is `size`, N is the number of clients,
/// u_s and u_i are the upload rates of seeds and clients, and d_min is the lowest download rate.
///
/// `seeds` yields upload rates. `clients` yields pairs of an upload rate and a download rate. Rates are in bytes per
/// second. An infinite rate means no limit.
pub fn t_min(
    size: u64,
    seeds: impl IntoIterator<Item = f64>,
    clients: impl IntoIterator<Item = (f64, f64), IntoIter: Clone>,
) -> f64 {
    let (size, clients) = (size as f64, clients.into_iter());
    let seed_up: f64 = seeds.into_iter().sum();
    let all_up = seed_up + clients.clone().map(|(up, _)| up).sum::<f64>();
    let slowest = clients.clone().map(|(_, down)| down).fold(f64::INFINITY, f64::min);
    let bounds = [size / seed_up, size / slowest, clients.count() as f64 * size / all_up];
    bounds.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_min_is_determined_by_the_scarcest_rate() {
        const UNLIMITED: f64 = f64::INFINITY;
        let cases = [
            (vec![10.0], vec![(UNLIMITED, UNLIMITED)], 10.0),
            (vec![30.0, 10.0], vec![(UNLIMITED, UNLIMITED)], 2.5),
            (vec![10.0], vec![(UNLIMITED, 5.0), (UNLIMITED, 9.0)], 20.0),
            (vec![10.0], vec![(5.0, UNLIMITED); 9], 900.0 / 55.0),
            (vec![10.0], vec![(UNLIMITED, UNLIMITED); 9], 10.0),
            (vec![UNLIMITED], vec![(UNLIMITED, UNLIMITED)], 0.0),
        ];
        for (seeds, clients, seconds) in cases {
            let bound = t_min(100, seeds.clone(), clients.clone());
            assert!((bound - seconds).abs() < 1e-9, "{seeds:?} {clients:?}: {bound} is not {seconds}");
        }
    }
}
