//! Converts the measurements of a run to the points of curves.

use super::record::{ClientRecord, NodeRecord, Outcome, Run};
use crate::points::{Point, steps, thinned};

/// The minimum and the maximum number of intervals into which a run is divided to compute the throughput.
const INTERVALS: (f64, f64) = (8.0, 120.0);

/// Returns the part of the clients that had finished, as a curve with steps from time 0 to `end`. Clients that need not
/// finish are ignored.
pub(super) fn completion(outcome: &Outcome, end: f64) -> Vec<Point> {
    let mut times: Vec<_> = outcome.clients_that_must_finish().filter_map(|client| client.finished).collect();
    times.sort_by(f64::total_cmp);
    steps(&times, outcome.clients_that_must_finish().count(), end)
}

/// Returns the curve of the number of bytes that a client had verified, from its start until it finished.
pub(super) fn verified(client: &ClientRecord, size: u64) -> Vec<Point> {
    let end = client.finished.unwrap_or(f64::INFINITY);
    let seen = client.progress.iter().filter(|point| point.at > client.started && point.at < end);
    let mut points = vec![(client.started, 0.0)];
    points.extend(seen.map(|point| (point.at, point.verified as f64)));
    points.extend(client.finished.map(|at| (at, size as f64)));
    points.retain(|(at, _)| at.is_finite());
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Returns the time at which the last client finished. For a client that did not finish, the time of its last measured
/// progress counts.
pub(super) fn end(outcome: &Outcome) -> f64 {
    let ends = outcome.clients.iter().map(|client| match client.finished {
        Some(at) => at,
        None => client.progress.last().map_or(client.started, |point| point.at),
    });
    ends.filter(|at| at.is_finite()).fold(0.0, f64::max)
}

/// Returns the end of the time axis for a run over Phase. The axis is long enough for T_min and for the predicted time
/// of the last client.
pub(super) fn end_of_run(run: &Run) -> f64 {
    let predicted = run.simulated.map_or(0.0, |prediction| prediction.last);
    let ends = [end(&run.phase), run.t_min, predicted];
    ends.into_iter().filter(|at| at.is_finite()).fold(0.0, f64::max)
}

/// Divides a run into equal intervals. For each interval, computes the mean rate at which all clients together verified
/// bytes. Returns the curve of this rate in bytes per second, and the length of an interval in seconds. Returns no
/// points and 0 if there are too few measurements.
pub(super) fn throughput(outcome: &Outcome, size: u64) -> (Vec<Point>, f64) {
    let end = end(outcome);
    let clients: Vec<_> = outcome.clients.iter().map(|client| gained(&verified(client, size))).collect();
    let most_points = clients.iter().map(Vec::len).max().unwrap_or(0);
    if end <= 0.0 || most_points < 2 {
        return (Vec::new(), 0.0);
    }
    // There are fewer intervals than samples. With shorter intervals, the curve would show when samples were taken, and
    // not how the rate changed.
    let intervals = (most_points as f64 * 0.7).clamp(INTERVALS.0, INTERVALS.1).floor();
    let width = end / intervals;
    let total = |at| clients.iter().map(|client| value(client, at)).sum::<f64>();
    let (mut points, mut before) = (Vec::new(), total(0.0));
    for number in 0..intervals as u32 {
        let (starts, ends) = (f64::from(number) * width, f64::from(number + 1) * width);
        let after = total(if ends < end { ends } else { f64::INFINITY });
        points.extend([(starts, (after - before) / width), (ends, (after - before) / width)]);
        before = after;
    }
    points.push((end, 0.0));
    (points, width)
}

/// Returns a curve that never falls: the sum of all increases of a client's verified bytes. Bytes that a client loses,
/// for instance in a restart, and fetches again count twice.
fn gained(points: &[Point]) -> Vec<Point> {
    let (mut sum, mut before) = (0.0, 0.0);
    let gained = points.iter().map(|(at, bytes)| {
        sum += (bytes - before).max(0.0);
        before = *bytes;
        (*at, sum)
    });
    gained.collect()
}

/// Returns the value of a curve at a time, by linear interpolation.
fn value(points: &[Point], time: f64) -> f64 {
    match points.split_at(points.partition_point(|(at, _)| *at <= time)) {
        ([], _) => 0.0,
        ([.., (_, value)], []) => *value,
        ([.., (from, low)], [(to, high), ..]) => low + (high - low) * (time - from) / (to - from),
    }
}

/// Returns the curve of a container's processor load, in percent of one core. The curve has at most `most` points.
pub(super) fn processor(node: &NodeRecord, most: usize) -> Vec<Point> {
    let samples = thinned(&node.samples, most);
    let used = samples.windows(2).filter_map(|pair| {
        let (took, used) = (pair[1].at - pair[0].at, pair[1].cpu - pair[0].cpu);
        (took > 0.0).then(|| (pair[1].at, (used / took * 100.0).max(0.0)))
    });
    used.filter(|(at, part)| at.is_finite() && part.is_finite()).collect()
}

/// Returns the curve of a container's resident memory, in bytes. The curve has at most `most` points. If there are more
/// samples, several samples are merged into the one with the highest memory.
pub(super) fn memory(node: &NodeRecord, most: usize) -> Vec<Point> {
    let together = node.samples.len().div_ceil(most.max(1)).max(1);
    let points = node.samples.chunks(together).filter_map(|samples| {
        let peak = samples.iter().max_by_key(|usage| usage.memory)?;
        Some((peak.at, peak.memory as f64))
    });
    points.filter(|(at, _)| at.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::super::record::{Progress, Usage};
    use super::*;

    #[test]
    fn completion_counts_only_clients_that_must_finish() {
        let client = |finished, must_finish| ClientRecord { finished, must_finish, ..ClientRecord::default() };
        let clients = vec![client(Some(4.0), true), client(Some(1.0), false), client(Some(2.0), true)];
        let outcome = Outcome { clients, nodes: Vec::new() };
        assert_eq!(completion(&outcome, 5.0), steps(&[2.0, 4.0], 2, 5.0));
    }

    #[test]
    fn throughput_adds_up_to_the_fetched_bytes() {
        for record in [example::crowd(), example::failed()] {
            let run = &record.runs[0];
            let (points, width) = throughput(&run.phase, run.setup.size());
            // Each interval has two points with the same rate, at its start and at its end.
            let sum: f64 = points.chunks_exact(2).map(|part| part[0].1 * width).sum();
            let each = run.phase.clients.iter().map(|client| {
                verified(client, run.setup.size()).windows(2).map(|pair| (pair[1].1 - pair[0].1).max(0.0)).sum::<f64>()
            });
            let fetched: f64 = each.sum();
            assert!((sum / fetched - 1.0).abs() < 1e-6, "{sum} of {fetched}");
        }
    }

    #[test]
    fn throughput_is_never_negative() {
        let progress = [(1.0, 60), (2.0, 0)].map(|(at, verified)| Progress { at, verified }).to_vec();
        let clients = vec![ClientRecord { finished: Some(3.0), progress, ..ClientRecord::default() }];
        let (points, _) = throughput(&Outcome { clients, nodes: Vec::new() }, 90);
        assert!(!points.is_empty() && points.iter().all(|(_, rate)| *rate >= 0.0), "{points:?}");
    }

    #[test]
    fn processor_load_is_in_percent_of_one_core() {
        let usage = |at: f64, cpu: f64, memory| Usage { at, cpu, memory, ..Usage::default() };
        let samples = vec![usage(0.0, 1.0, 5), usage(0.5, 1.25, 9), usage(0.5, 1.25, 9), usage(1.5, 1.35, 7)];
        let node = NodeRecord { name: String::new(), samples };
        let points = processor(&node, 100);
        assert_eq!(points.len(), 2);
        assert!((points[0].1 - 50.0).abs() < 1e-9 && (points[1].1 - 10.0).abs() < 1e-9, "{points:?}");
        // If several samples are merged into one point, the point has the highest memory of these samples.
        assert!(memory(&node, 1).contains(&(0.5, 9.0)), "{:?}", memory(&node, 1));
    }
}
