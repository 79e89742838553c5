//! Points of a curve.

/// A point: when, and how much.
pub(crate) type Point = (f64, f64);

/// The most lines of a kind in one chart: more are a smear.
pub(crate) const MAX_LINES: usize = 64;
/// The most points of one line: more than there are pixels show nothing.
const MAX_LINE_POINTS: usize = 600;
/// The most points of all lines of a chart together, so that a picture stays below about a megabyte.
const MAX_POINTS: usize = 24_000;

/// The most points of each line if so many share a chart.
pub(crate) fn budget(lines: usize) -> usize {
    (MAX_POINTS / lines.max(1)).clamp(50, MAX_LINE_POINTS)
}

/// At most so many, evenly chosen, with the first and the last.
pub(crate) fn thinned<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let most = most.max(2);
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|number| all[number * (all.len() - 1) / (most - 1)]).collect()
}

/// The share of `of` that had finished, as steps from 0 to `end`. `times` are sorted.
pub(crate) fn steps(times: &[f64], of: usize, end: f64) -> Vec<Point> {
    let shown = times.iter().filter(|at| (0.0..=end).contains(*at));
    let numbered: Vec<_> = shown.zip(1u32..).map(|(at, number)| (*at, f64::from(number) / of.max(1) as f64)).collect();
    let mut points = vec![(0.0, 0.0)];
    let mut reached = 0.0;
    for (at, part) in thinned(&numbered, MAX_LINE_POINTS) {
        points.extend([(at, reached), (at, part)]);
        reached = part;
    }
    points.push((end, reached));
    points
}

/// The time by which a part of all has finished, if so many have. `times` are sorted.
pub fn percentile(times: &[f64], of: u32, part: f64) -> Option<f64> {
    let rank = (f64::from(of) * part).ceil().max(1.0) as usize;
    times.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_many_are_chosen_evenly() {
        let all: Vec<_> = (0..1000).collect();
        let few = thinned(&all, 11);
        assert_eq!((few.len(), few[0], few[5], few[10]), (11, 0, 499, 999));
        assert_eq!(thinned(&all[..3], 11), [0, 1, 2]);
    }

    #[test]
    fn a_curve_of_those_that_finished_has_steps_up_to_its_end() {
        let times = [2.0, 4.0];
        assert_eq!(steps(&times, 2, 5.0), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5), (4.0, 0.5), (4.0, 1.0), (5.0, 1.0)]);
        // A client that finishes beyond the chart is not drawn beside it.
        assert_eq!(steps(&times, 2, 3.0), [(0.0, 0.0), (2.0, 0.0), (2.0, 0.5), (3.0, 0.5)]);
    }

    #[test]
    fn percentiles_count_those_that_never_finish() {
        let times: Vec<f64> = (1..=99).map(f64::from).collect();
        assert_eq!(percentile(&times, 100, 0.5), Some(50.0));
        assert_eq!(percentile(&times, 100, 0.99), Some(99.0));
        assert_eq!(percentile(&times, 100, 1.0), None);
        assert_eq!(percentile(&times[..1], 1, 0.5), Some(1.0));
    }
}
