//! Computes the points of curves.

/// A point of a curve: a time, and the value at this time.
pub(crate) type Point = (f64, f64);

/// The maximum number of curves of one kind in a chart, because more curves cannot be distinguished.
pub(crate) const MAX_LINES: usize = 64;
/// The maximum number of points of one curve, which is about one point for each pixel.
const MAX_LINE_POINTS: usize = 600;
/// The maximum number of points of all curves in a chart together, so that a picture is not larger than about 1 MB.
const MAX_POINTS: usize = 24_000;

/// Returns the maximum number of points of each curve in a chart with `lines` curves.
pub(crate) fn budget(lines: usize) -> usize {
    (MAX_POINTS / lines.max(1)).clamp(50, MAX_LINE_POINTS)
}

/// Returns at most `most` items, evenly chosen, including the first and the last.
pub(crate) fn thinned<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let most = most.max(2);
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|number| all[number * (all.len() - 1) / (most - 1)]).collect()
}

/// Returns the part of all clients that had finished, as a curve with steps from time 0 to `end`. `times` are the
/// sorted finish times, and `clients` is the number of all clients.
pub(crate) fn steps(times: &[f64], clients: usize, end: f64) -> Vec<Point> {
    let shown = times.iter().filter(|at| (0.0..=end).contains(*at));
    let numbered: Vec<_> =
        shown.zip(1u32..).map(|(at, number)| (*at, f64::from(number) / clients.max(1) as f64)).collect();
    let mut points = vec![(0.0, 0.0)];
    let mut reached = 0.0;
    for (at, part) in thinned(&numbered, MAX_LINE_POINTS) {
        points.extend([(at, reached), (at, part)]);
        reached = part;
    }
    points.push((end, reached));
    points
}

/// Returns the time at which this part of all clients had finished, or `None` if fewer finished. For instance, `part`
/// is 0.5 for half of the clients. `times` are the sorted finish times, and `clients` is the number of all clients.
pub fn percentile(times: &[f64], clients: u32, part: f64) -> Option<f64> {
    let rank = (f64::from(clients) * part).ceil().max(1.0) as usize;
    times.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_items_are_evenly_chosen() {
        let all: Vec<_> = (0..1000).collect();
        let few = thinned(&all, 11);
        assert_eq!((few.len(), few[0], few[5], few[10]), (11, 0, 499, 999));
        assert_eq!(thinned(&all[..3], 11), [0, 1, 2]);
    }

    #[test]
    fn a_step_curve_rises_at_each_finish_time_until_its_end() {
        let times = [2.0, 4.0];
        assert_eq!(steps(&times, 2, 5.0), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5), (4.0, 0.5), (4.0, 1.0), (5.0, 1.0)]);
        // A finish time after the end of the chart is not drawn.
        assert_eq!(steps(&times, 2, 3.0), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5), (3.0, 0.5)]);
    }

    #[test]
    fn percentiles_include_clients_that_never_finish() {
        let times: Vec<f64> = (1..=99).map(f64::from).collect();
        assert_eq!(percentile(&times, 100, 0.5), Some(50.0));
        assert_eq!(percentile(&times, 100, 0.99), Some(99.0));
        assert_eq!(percentile(&times, 100, 1.0), None);
        assert_eq!(percentile(&times[..1], 1, 0.5), Some(1.0));
    }
}
