//! The lower bound that times are compared with.

/// The shortest time in seconds in which any scheme can distribute `size` bytes: `max(F/Σu_s, F/d_min, N·F/(Σu_s + Σu_i))`
/// (Kumar and Ross 2006). `seeds` are upload rates, `clients` upload and download rates, in bytes per second; an infinite rate
/// costs no time.
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
    fn the_bound_is_that_of_the_scarce_resource() {
        const FREE: f64 = f64::INFINITY;
        let cases = [
            (vec![10.0], vec![(FREE, FREE)], 10.0),
            (vec![30.0, 10.0], vec![(FREE, FREE)], 2.5),
            (vec![10.0], vec![(FREE, 5.0), (FREE, 9.0)], 20.0),
            (vec![10.0], vec![(5.0, FREE); 9], 900.0 / 55.0),
            (vec![10.0], vec![(FREE, FREE); 9], 10.0),
            (vec![FREE], vec![(FREE, FREE)], 0.0),
        ];
        for (seeds, clients, seconds) in cases {
            let bound = t_min(100, seeds.clone(), clients.clone());
            assert!((bound - seconds).abs() < 1e-9, "{seeds:?} {clients:?}: {bound} is not {seconds}");
        }
    }
}
