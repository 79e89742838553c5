//! The tables and texts about a run.

use phase_units::{MISSING, bytes, nominal, percent, rate, ratio, seconds, seconds_and_times as took, times};

use super::record::{ClientRecord, Host, Outcome, Record, Run, Setup};
use crate::table::{Column, Table};

/// The names of the columns in the table of runs.
const COLUMNS: [&str; 15] = [
    "scenario",
    "run",
    "setup",
    "T_min",
    "p50",
    "p95",
    "p99",
    "last",
    "last ÷ T_min",
    "faster than HTTP",
    "last ÷ undisturbed",
    "simulator",
    "seeds sent (copies)",
    "duplicates",
    "promises",
];
/// The indices of the columns that contain figures. The other columns contain texts.
const FIGURES: std::ops::Range<usize> = 3..VERDICT;
/// The index of the column that says whether the promises held.
const VERDICT: usize = 14;

/// The explanation of the columns in the table of runs.
pub(super) const MEANING: &str = "T_min is the shortest time in which any schedule could finish: max(F/Σu_s, F/d, \
    N·F/(Σu_s + Σu_i)). F is the size of all artifacts, which each of the N clients fetches; Σu_s is the total upload \
    rate of the seeds, Σu_i the total upload rate of the clients, and d the download rate of a client. The columns \
    p50, p95, p99 and last show in how much time 50 %, 95 %, 99 % and all of the clients finished, each counted from \
    the start of its fetch; multiples of T_min are in brackets. Clients that need not finish are not counted. The \
    column faster than HTTP compares the last client with the last client of the HTTP baseline, in which one plain \
    HTTP server sends the same files over the same network links. The undisturbed run has no hostile nodes and no \
    events. The column simulator shows the p50 and last that the simulator predicts for the scenario. The bytes that \
    seeds sent include all headers and are shown as copies of F. Duplicates are bytes received twice, in percent of \
    all bytes that were fetched and verified.";

/// Returns the table of all runs of some scenarios, with one row for each run.
pub(super) fn runs<'a>(records: impl IntoIterator<Item = &'a Record>) -> Table {
    let column = |(number, name)| if FIGURES.contains(&number) { Column::figure(name) } else { Column::word(name) };
    let mut table = Table::new(COLUMNS.into_iter().enumerate().map(column).collect::<Vec<_>>());
    for record in records {
        record.runs.iter().for_each(|run| table.row(cells(record, run)));
    }
    table
}

/// Returns the runs of a scenario as lines for a terminal. Missing figures are omitted.
pub fn overview(record: &Record) -> String {
    let mut lines = Vec::new();
    for run in &record.runs {
        let cells = cells(record, run);
        lines.push(format!("{}: {}", cells[1], cells[VERDICT]));
        let shown = COLUMNS.iter().zip(&cells).take(VERDICT).skip(2).filter(|(_, cell)| *cell != MISSING);
        lines.extend(shown.map(|(name, cell)| format!("  {name:<20}{cell}")));
    }
    lines.join("\n")
}

fn cells(record: &Record, run: &Run) -> [String; 15] {
    let took = |part| took(run.phase.percentile(part), run.t_min);
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
        times(run.slowdown()),
        simulated(run),
        times(ratio(run.seed_copies(), 1.0)),
        percent(run.phase.duplicates()),
        if run.held() { "held".to_owned() } else { format!("FAILED: {}", run.broken.join("; ")) },
    ]
}

/// Describes the two predictions of the simulator, p50 and last, with their relative errors.
fn simulated(run: &Run) -> String {
    let Some(predicted) = &run.simulated else { return MISSING.to_owned() };
    let [p50, last] = run.prediction_errors().map(|(_, error)| error.map_or(MISSING.to_owned(), percent));
    format!("p50 {} ({p50} off), last {} ({last} off)", seconds(predicted.p50), seconds(predicted.last))
}

fn against_http(run: &Run) -> String {
    let Some(http) = &run.http else { return MISSING.to_owned() };
    match http.percentile(1.0) {
        Some(last) => format!("{} (HTTP: {})", times(run.times_faster_than_http()), seconds(last)),
        None => unfinished_http(run, http),
    }
}

/// Describes an HTTP baseline that was stopped before all clients had finished.
fn unfinished_http(run: &Run, http: &Outcome) -> String {
    let last = |client: &ClientRecord| client.progress.last().copied();
    let at = http.clients.iter().filter_map(last).map(|progress| progress.at).fold(0.0, f64::max);
    let verified: u64 = http.clients.iter().filter_map(last).map(|progress| progress.verified).sum();
    let all = run.setup.size() * http.clients.len() as u64;
    let (part, more) = (ratio(verified as f64, all as f64), run.phase.percentile(1.0).and_then(|last| ratio(at, last)));
    format!("more than {} (HTTP: {} done after {})", times(more), part.map_or(MISSING.to_owned(), percent), seconds(at))
}

/// Returns the table of the resources that each container used.
pub(super) fn containers(outcome: &Outcome) -> Table {
    let mut table = Table::of(["container", "processor time", "peak memory", "sent", "received"]);
    for node in &outcome.nodes {
        let received = node.samples.last().map_or(0, |usage| usage.received);
        let [memory, sent, received] = [node.peak_memory(), node.sent(), received].map(|count| bytes(count as f64));
        table.row([node.name.clone(), seconds(node.cpu()), memory, sent, received]);
    }
    table
}

/// Returns the table of events.
pub(super) fn events(run: &Run) -> Table {
    let mut table = Table::new([Column::figure("time"), Column::word("event")]);
    run.events.iter().for_each(|event| table.row([seconds(event.at), event.text.clone()]));
    table
}

/// Describes the incidents of all clients: errors, wrong files, bans of peers, reassigned chunks.
pub(super) fn incidents(outcome: &Outcome) -> Vec<String> {
    let mut incidents = Vec::new();
    for client in &outcome.clients {
        let ClientRecord { name, error, banned, reassigned_chunks, .. } = client;
        incidents.extend(error.iter().map(|error| format!("{name} failed: {error}")));
        if client.is_correct == Some(false) {
            incidents.push(format!("{name} finished with files that differ from the published files"));
        }
        if client.must_finish && client.finished.is_none() && error.is_none() {
            incidents.push(format!("{name} did not finish"));
        }
        if !banned.is_empty() {
            incidents.push(format!("{name} banned {}", banned.join(", ")));
        }
        if *reassigned_chunks > 0 {
            let chunks = counted(*reassigned_chunks as usize, "chunk");
            incidents.push(format!("{name} reassigned {chunks} to other peers"));
        }
    }
    incidents
}

/// Describes the setup in a line: `1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up), 20 ms apart, image.bin (160 MiB,
/// …)`.
pub(super) fn setup(setup: &Setup) -> String {
    let up = setup.client_up.map_or("no upload limit".to_owned(), |limit| format!("{} up", speed(limit)));
    let down = setup.client_down.map_or(String::new(), |limit| format!(", {} down", speed(limit)));
    let mut parts = vec![
        format!("{} ({})", counted(setup.seed_up.len(), "seed"), seeds_up(&setup.seed_up)),
        format!("{} ({up}{down})", counted(setup.clients as usize, "client")),
    ];
    if setup.latency > 0.0 {
        parts.push(format!("{} apart", nominal(seconds(setup.latency))));
    }
    if !setup.hostile.is_empty() {
        parts.push(format!("hostile: {}", setup.hostile.join(", ")));
    }
    parts.push(match setup.artifacts.as_slice() {
        [] => "no artifacts".to_owned(),
        [artifact] => format!("{} ({}, {})", artifact.filename, nominal(bytes(artifact.size as f64)), artifact.kind),
        many => format!("{} artifacts ({} together)", many.len(), nominal(bytes(setup.size() as f64))),
    });
    parts.join(", ")
}

/// Describes the upload rates of seeds. Seeds with the same rate are grouped.
fn seeds_up(limits: &[Option<f64>]) -> String {
    let mut kinds: Vec<(Option<f64>, usize)> = Vec::new();
    for limit in limits {
        match kinds.iter_mut().find(|(kind, _)| kind == limit) {
            Some((_, count)) => *count += 1,
            None => kinds.push((*limit, 1)),
        }
    }
    let named = |limit: Option<f64>| limit.map_or("no limit".to_owned(), speed);
    match kinds.as_slice() {
        [] => "none".to_owned(),
        [(None, _)] => "no upload limit".to_owned(),
        [(limit, 1)] => format!("{} up", named(*limit)),
        [(limit, _)] => format!("{} up each", named(*limit)),
        many => {
            let each: Vec<_> = many.iter().map(|(limit, count)| format!("{count} × {}", named(*limit))).collect();
            format!("up: {}", each.join(", "))
        }
    }
}

fn speed(limit: f64) -> String {
    nominal(rate(limit))
}

/// Returns a count with its noun in the singular or plural.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Describes the machine in one line.
pub(super) fn machine(host: &Host) -> String {
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let (cores, memory) = (counted(host.cores as usize, "processor"), nominal(bytes(host.memory as f64)));
    let (kernel, docker, binaries) = (known(&host.kernel), known(&host.docker), known(&host.binaries));
    format!("{cores}, {memory} of RAM, kernel {kernel}, Docker {docker}, binaries: {binaries}")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_row_has_the_figures_of_its_run() {
        let record = example::crowd();
        let cells = cells(&record, &record.runs[0]);
        let cell = |name| &cells[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!((cell("T_min").as_str(), cell("promises").as_str()), ("13.01 s", "held"));
        assert!(cell("p50").ends_with(" ×)") && cell("p50").contains(" s ("), "{cells:?}");
        assert!(cell("faster than HTTP").contains("× (HTTP: 43"), "{cells:?}");
        assert!(cell("setup").starts_with("1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up, 1 Gbit/s down)"));
        let overview = overview(&record);
        assert!(overview.starts_with("crowd: held\n  setup               1 seed"), "{overview}");
        assert!(!overview.contains("undisturbed"), "{overview}");
    }

    #[test]
    fn a_missing_figure_is_shown_as_a_dash() {
        let record = example::empty();
        let cells = cells(&record, &record.runs[0]);
        assert_eq!(cells[3..11], [MISSING; 8], "{cells:?}");
    }

    #[test]
    fn seeds_with_the_same_rate_are_grouped() {
        assert_eq!(seeds_up(&[Some(12.5e6), None, Some(12.5e6)]), "up: 2 × 100 Mbit/s, 1 × no limit");
        assert_eq!(seeds_up(&[Some(12.5e6); 3]), "100 Mbit/s up each");
        assert_eq!([seeds_up(&[None]), seeds_up(&[])], ["no upload limit", "none"]);
    }

    #[test]
    fn failures_of_clients_are_listed() {
        let incidents = incidents(&example::failed().runs[0].phase).join("\n");
        for part in ["client 0 banned hostile 0", "client 1 failed: no provider left", "client 2 did not finish"] {
            assert!(incidents.contains(part), "{part:?} is not in {incidents}");
        }
    }
}
