//! What the pages say of a run in words and figures.

use super::units::{MISSING, bytes, nominal, percent, rate, ratio, seconds, seconds_and_times, times};
use crate::docker::record::{ClientRecord, Outcome, Record, Run, Setup};

/// What the columns of the table of runs are.
pub(super) const COLUMNS: [&str; 15] = [
    "scenario",
    "run",
    "setup",
    "T_min",
    "p50",
    "p95",
    "p99",
    "last",
    "last ÷ T_min",
    "sooner than HTTP",
    "÷ undisturbed",
    "simulator",
    "seeds sent ÷ F",
    "duplicates",
    "promises",
];
/// The columns that are words: the others are figures.
pub(super) const WORDS: [usize; 4] = [0, 1, 2, VERDICT];
/// The column that says whether all held.
pub(super) const VERDICT: usize = 14;

/// What the columns mean.
pub(super) const MEANING: &str = "T_min is the shortest time in which any scheme could finish: \
    max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i)), where F is what each of the N clients fetches, Σu_s what all seeds together \
    can send, Σu_i what all clients together can send, and d what one client can receive. p50, p95, p99 and last are \
    how long 50 %, 95 %, 99 % and all of the clients that are to finish took, each from when it was let go, and in \
    brackets the same as multiples of T_min. How many times sooner than HTTP the last client finished is against the \
    same files from one plain HTTP server over the same links. Undisturbed is the same when nothing happens to nodes and \
    nobody does harm. The simulator's p50 and last are those of the same scenario in virtual time. What seeds sent counts all headers. \
    Duplicates are bytes that came twice, as a part of all that was fetched and verified.";

/// What the columns of the table of containers are.
pub(super) const CONTAINER_COLUMNS: [&str; 5] = ["container", "processor time", "peak memory", "sent", "received"];

/// The line of a run in the table.
pub(super) fn row(record: &Record, run: &Run) -> [String; 15] {
    let took = |part| seconds_and_times(run.phase.percentile(part), run.t_min);
    let last = run.phase.percentile(1.0);
    [
        record.scenario.clone(),
        run.label.clone(),
        setup(&run.setup),
        seconds(run.t_min),
        took(0.5),
        took(0.95),
        took(0.99),
        last.map_or(MISSING.to_owned(), seconds),
        times(last.and_then(|last| ratio(last, run.t_min))),
        against_http(run),
        times(run.cost()),
        simulated(run),
        times(ratio(run.seed_copies(), 1.0)),
        percent(run.phase.duplicates()),
        if run.held() { "held".to_owned() } else { format!("FAILED: {}", run.broken.join("; ")) },
    ]
}

/// What the simulator says of p50 and last, and by how much it is off.
fn simulated(run: &Run) -> String {
    let Some(said) = &run.simulated else { return MISSING.to_owned() };
    let [half, all] = run.prediction_errors().map(|(_, error)| error.map_or(MISSING.to_owned(), percent));
    format!("{} ({half} off), {} ({all} off)", seconds(said.p50), seconds(said.last))
}

fn against_http(run: &Run) -> String {
    let Some(http) = &run.http else { return MISSING.to_owned() };
    match (run.times_faster_than_http(), http.percentile(1.0)) {
        (Some(sooner), Some(last)) => format!("{} (HTTP: {})", times(Some(sooner)), seconds(last)),
        (None, Some(last)) => format!("{MISSING} (HTTP: {})", seconds(last)),
        (_, None) => given_up(run, http),
    }
}

/// How far HTTP was when it was given up.
fn given_up(run: &Run, http: &Outcome) -> String {
    let last = |client: &ClientRecord| client.progress.last().copied();
    let at = http.clients.iter().filter_map(last).map(|progress| progress.at).fold(0.0, f64::max);
    let verified: u64 = http.clients.iter().filter_map(last).map(|progress| progress.verified).sum();
    let all = run.setup.size() * http.clients.len() as u64;
    let (part, more) = (ratio(verified as f64, all as f64), run.phase.percentile(1.0).and_then(|last| ratio(at, last)));
    format!("more than {} (HTTP: {} done after {})", times(more), part.map_or(MISSING.to_owned(), percent), seconds(at))
}

/// The lines of the table of containers.
pub(super) fn containers(outcome: &Outcome) -> impl Iterator<Item = [String; 5]> {
    outcome.nodes.iter().map(|node| {
        let received = node.samples.last().map_or(0, |usage| usage.received);
        [
            node.name.clone(),
            seconds(node.cpu()),
            bytes(node.peak_memory() as f64),
            bytes(node.sent() as f64),
            bytes(received as f64),
        ]
    })
}

/// What clients have to tell beside figures: why they failed, what was wrong, whom they banned.
pub(super) fn incidents(outcome: &Outcome) -> Vec<String> {
    let mut told = Vec::new();
    for client in &outcome.clients {
        let name = &client.name;
        told.extend(client.error.iter().map(|error| format!("{name} failed: {error}")));
        if client.is_correct == Some(false) {
            told.push(format!("{name}: its files are not what was published"));
        }
        if client.must_finish && client.finished.is_none() && client.error.is_none() {
            told.push(format!("{name} did not finish"));
        }
        if !client.banned.is_empty() {
            told.push(format!("{name} banned {}", client.banned.join(", ")));
        }
        if client.reassigned_chunks > 0 {
            told.push(format!(
                "{name} took {} chunks from one peer and gave them to another",
                client.reassigned_chunks
            ));
        }
    }
    told
}

/// The setup in a line: `1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up), 20 ms apart, image.bin (160 MiB, …)`.
pub(super) fn setup(setup: &Setup) -> String {
    let up = |limit: Option<f64>| limit.map_or("up not limited".to_owned(), |limit| format!("{} up", speed(limit)));
    let mut parts = vec![format!("{} ({})", counted(setup.seed_up.len(), "seed"), seeds_up(&setup.seed_up))];
    let down = setup.client_down.map_or(String::new(), |limit| format!(", {} down", speed(limit)));
    parts.push(format!("{} ({}{down})", counted(setup.clients as usize, "client"), up(setup.client_up)));
    if setup.latency > 0.0 {
        parts.push(format!("{} apart", nominal(seconds(setup.latency))));
    }
    if !setup.hostile.is_empty() {
        parts.push(format!("hostile: {}", setup.hostile.join(", ")));
    }
    parts.push(match setup.artifacts.as_slice() {
        [] => "nothing to fetch".to_owned(),
        [artifact] => format!("{} ({}, {})", artifact.filename, nominal(bytes(artifact.size as f64)), artifact.kind),
        many => format!("{} artifacts ({} together)", many.len(), nominal(bytes(setup.size() as f64))),
    });
    parts.join(", ")
}

/// What seeds can send, once if it is the same for all.
fn seeds_up(limits: &[Option<f64>]) -> String {
    let mut kinds: Vec<(Option<f64>, usize)> = Vec::new();
    for limit in limits {
        match kinds.iter_mut().find(|(kind, _)| kind == limit) {
            Some((_, count)) => *count += 1,
            None => kinds.push((*limit, 1)),
        }
    }
    let named = |limit: Option<f64>| limit.map_or("not limited".to_owned(), speed);
    match kinds.as_slice() {
        [] => "none".to_owned(),
        [(None, _)] => "up not limited".to_owned(),
        [(limit, 1)] => format!("{} up", named(*limit)),
        [(limit, _)] => format!("{} up each", named(*limit)),
        many => {
            let each: Vec<_> = many.iter().map(|(limit, count)| format!("{count} of {}", named(*limit))).collect();
            format!("up: {}", each.join(", "))
        }
    }
}

fn speed(limit: f64) -> String {
    nominal(rate(limit))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// When a scenario ran: `2026-11-22T01:53:07Z`.
pub(super) fn taken_at(record: &Record) -> String {
    /// The last second that has four digits for the year.
    const LAST: u64 = 253_402_300_799;
    let since = std::time::Duration::from_secs(record.taken_at.min(LAST));
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

/// The machine in a line.
pub(super) fn machine(record: &Record) -> String {
    let host = &record.host;
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let (cores, memory) = (counted(host.cores as usize, "processor"), nominal(bytes(host.memory as f64)));
    let (kernel, docker, binaries) = (known(&host.kernel), known(&host.docker), known(&host.binaries));
    format!("{cores}, {memory} of memory, kernel {kernel}, Docker {docker}, binaries: {binaries}")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_row_says_how_the_run_went() {
        let record = example::crowd();
        let run = &record.runs[0];
        let row = row(&record, run);
        let cell = |name| &row[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!(cell("T_min"), "13.01 s");
        assert!(cell("p50").ends_with(" ×)") && cell("p50").contains(" s ("), "{row:?}");
        assert!(cell("sooner than HTTP").contains("× (HTTP: 43"), "{row:?}");
        assert!(cell("setup").starts_with("1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up, 1 Gbit/s down)"));
        assert_eq!(cell("promises"), "held");
        assert_eq!(row[VERDICT], "held");
    }

    #[test]
    fn what_is_missing_is_a_dash_and_no_zero() {
        let record = example::empty();
        let row = row(&record, &record.runs[0]);
        for column in [3, 4, 5, 6, 7, 8, 9, 10] {
            assert_eq!(row[column], MISSING, "{}: {row:?}", COLUMNS[column]);
        }
    }

    #[test]
    fn different_seeds_are_counted() {
        assert_eq!(seeds_up(&[Some(12.5e6), None, Some(12.5e6)]), "up: 2 of 100 Mbit/s, 1 of not limited");
        assert_eq!(seeds_up(&[Some(12.5e6); 3]), "100 Mbit/s up each");
        assert_eq!(seeds_up(&[None]), "up not limited");
        assert_eq!(seeds_up(&[]), "none");
    }

    #[test]
    fn a_date_that_nobody_lives_to_see_is_written_all_the_same() {
        assert_eq!(taken_at(&Record { taken_at: u64::MAX, ..example::empty() }), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn clients_tell_what_went_wrong() {
        let told = incidents(&example::trouble().runs[0].phase).join("\n");
        for part in ["client 0 banned hostile 0", "client 1 failed: no provider left", "client 2 did not finish"] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }
}
