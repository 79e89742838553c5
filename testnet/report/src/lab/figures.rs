//! What pages say of a run in words and figures.

use phase_units::{MISSING, bytes, nominal, percent, rate, ratio, seconds, seconds_and_times as took, times};

use super::record::{ClientRecord, Host, Outcome, Record, Run, Setup};
use crate::table::{Column, Table};

/// What the columns of the table of runs are.
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
    "sooner than HTTP",
    "÷ undisturbed",
    "simulator",
    "seeds sent ÷ F",
    "duplicates",
    "promises",
];
/// The columns that are figures. The others are words.
const FIGURES: std::ops::Range<usize> = 3..VERDICT;
/// The column that says whether all held.
const VERDICT: usize = 14;

/// What the columns mean.
pub(super) const MEANING: &str = "T_min is the shortest time in which any scheme could finish: \
    max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i)), where F is what each of the N clients fetches, Σu_s what all seeds together \
    can send, Σu_i what all clients together can send, and d what one client can receive. p50, p95, p99 and last are \
    how long 50 %, 95 %, 99 % and all of the clients that are to finish took, each from when it was let go, and in \
    brackets the same as multiples of T_min. How many times sooner than HTTP the last client finished is against the \
    same files from one plain HTTP server over the same links. Undisturbed is the same when nothing happens to nodes and \
    nobody does harm. The simulator's p50 and last are those of the same scenario in virtual time. What seeds sent counts all headers. \
    Duplicates are bytes that came twice, as a part of all that was fetched and verified.";

/// All runs of some scenarios, one row each.
pub(super) fn runs<'a>(records: impl IntoIterator<Item = &'a Record>) -> Table {
    let column = |(number, name)| if FIGURES.contains(&number) { Column::figure(name) } else { Column::word(name) };
    let mut table = Table::new(COLUMNS.into_iter().enumerate().map(column).collect::<Vec<_>>());
    for record in records {
        record.runs.iter().for_each(|run| table.row(cells(record, run)));
    }
    table
}

/// The runs of a scenario in lines for a terminal, without what is missing.
pub fn overview(record: &Record) -> String {
    let mut lines = Vec::new();
    for run in &record.runs {
        let cells = cells(record, run);
        lines.push(format!("{}: {}", cells[1], cells[VERDICT]));
        let shown = COLUMNS.iter().zip(&cells).take(VERDICT).skip(2).filter(|(_, cell)| *cell != MISSING);
        lines.extend(shown.map(|(name, cell)| format!("  {name:<18}{cell}")));
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
    match http.percentile(1.0) {
        Some(last) => format!("{} (HTTP: {})", times(run.times_faster_than_http()), seconds(last)),
        None => given_up(run, http),
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

/// What each container used.
pub(super) fn containers(outcome: &Outcome) -> Table {
    let mut table = Table::of(["container", "processor time", "peak memory", "sent", "received"]);
    for node in &outcome.nodes {
        let received = node.samples.last().map_or(0, |usage| usage.received);
        let [memory, sent, received] = [node.peak_memory(), node.sent(), received].map(|count| bytes(count as f64));
        table.row([node.name.clone(), seconds(node.cpu()), memory, sent, received]);
    }
    table
}

/// What happened to nodes, and when.
pub(super) fn events(run: &Run) -> Table {
    let mut table = Table::new([Column::figure("when"), Column::word("what")]);
    run.events.iter().for_each(|event| table.row([seconds(event.at), event.text.clone()]));
    table
}

/// What clients have to tell beside figures: why they failed, what was wrong, which peers they banned.
pub(super) fn incidents(outcome: &Outcome) -> Vec<String> {
    let mut told = Vec::new();
    for client in &outcome.clients {
        let ClientRecord { name, error, banned, reassigned_chunks, .. } = client;
        told.extend(error.iter().map(|error| format!("{name} failed: {error}")));
        if client.is_correct == Some(false) {
            told.push(format!("{name}: its files are not what was published"));
        }
        if client.must_finish && client.finished.is_none() && error.is_none() {
            told.push(format!("{name} did not finish"));
        }
        if !banned.is_empty() {
            told.push(format!("{name} banned {}", banned.join(", ")));
        }
        if *reassigned_chunks > 0 {
            told.push(format!("{name} took {reassigned_chunks} chunks from one peer and gave them to another"));
        }
    }
    told
}

/// The setup in a line: `1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up), 20 ms apart, image.bin (160 MiB, …)`.
pub(super) fn setup(setup: &Setup) -> String {
    let up = setup.client_up.map_or("up not limited".to_owned(), |limit| format!("{} up", speed(limit)));
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

/// The machine in a line.
pub(super) fn machine(host: &Host) -> String {
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
        let cells = cells(&record, &record.runs[0]);
        let cell = |name| &cells[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!((cell("T_min").as_str(), cell("promises").as_str()), ("13.01 s", "held"));
        assert!(cell("p50").ends_with(" ×)") && cell("p50").contains(" s ("), "{cells:?}");
        assert!(cell("sooner than HTTP").contains("× (HTTP: 43"), "{cells:?}");
        assert!(cell("setup").starts_with("1 seed (100 Mbit/s up), 32 clients (100 Mbit/s up, 1 Gbit/s down)"));
        let overview = overview(&record);
        assert!(overview.starts_with("crowd: held\n  setup             1 seed"), "{overview}");
        assert!(!overview.contains("undisturbed"), "{overview}");
    }

    #[test]
    fn what_is_missing_is_a_dash_and_no_zero() {
        let record = example::empty();
        let cells = cells(&record, &record.runs[0]);
        assert_eq!(cells[3..11], [MISSING; 8], "{cells:?}");
    }

    #[test]
    fn different_seeds_are_counted() {
        assert_eq!(seeds_up(&[Some(12.5e6), None, Some(12.5e6)]), "up: 2 of 100 Mbit/s, 1 of not limited");
        assert_eq!(seeds_up(&[Some(12.5e6); 3]), "100 Mbit/s up each");
        assert_eq!([seeds_up(&[None]), seeds_up(&[])], ["up not limited", "none"]);
    }

    #[test]
    fn clients_tell_what_went_wrong() {
        let told = incidents(&example::trouble().runs[0].phase).join("\n");
        for part in ["client 0 banned hostile 0", "client 1 failed: no provider left", "client 2 did not finish"] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }
}
