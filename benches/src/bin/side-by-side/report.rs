//! Prints the output of the parent process: one line after each fetch, and at the end a table or JSON.

use phase_benches::stats::{median, mib_per_second, range};
use phase_report::table::Table;
use serde_json::{Value, json};

use crate::contender::Contender;
use crate::options::Options;
use crate::rounds::Run;

/// A text for the output that says which work the measured time includes.
const INSIDE: &str = "\
seconds: on an established connection, from the start of the fetch until the last byte is in place
  bare:  opening streams, pread, transport, BLAKE3 per 256 KiB, pwrite
  Phase: (manifest verified before) storing the envelope, asking the peer, fetching and decoding the index, requesting,
         sending, verifying and writing chunks; syncing, sealing and renaming the artifact; setting the ref";

/// Prints one line about a fetch that has ended.
pub(crate) fn print_run(options: &Options, run: &Run) {
    let seconds = run.fetched.taken.seconds;
    let rate = mib_per_second(options.size.0, seconds);
    eprintln!("round {}: {:<32}  {seconds:6.3} s  {rate:6.0} MiB/s", run.round, run.contender);
}

/// Prints the results of all fetches.
pub(crate) fn print(options: &Options, runs: &[Run]) {
    let summaries: Vec<_> = options.contenders.iter().map(|&contender| Summary::of(options, runs, contender)).collect();
    let comparison = Comparison::of(&summaries);
    if options.json {
        println!("{:#}", to_json(options, runs, &summaries, comparison.as_ref()));
    } else {
        print_text(options, &summaries, comparison.as_ref());
    }
}

/// The figures of one contender: the seconds of each round, and the medians over all rounds.
struct Summary {
    contender: Contender,
    all_seconds: Vec<f64>,
    seconds: f64,
    rate: f64,
    user: f64,
    system: f64,
    server_cpu: f64,
    peak_memory: f64,
    server_peak_memory: f64,
    resolve_seconds: f64,
    prepare_seconds: f64,
}

impl Summary {
    fn of(options: &Options, runs: &[Run], contender: Contender) -> Self {
        let runs: Vec<_> = runs.iter().filter(|run| run.contender == contender).collect();
        let all = |value: fn(&Run) -> Option<f64>| median(runs.iter().filter_map(|run| value(run)));
        let seconds = all(|run| Some(run.fetched.taken.seconds));
        Self {
            contender,
            all_seconds: runs.iter().map(|run| run.fetched.taken.seconds).collect(),
            seconds,
            rate: mib_per_second(options.size.0, seconds),
            user: all(|run| Some(run.fetched.taken.cpu.user)),
            system: all(|run| Some(run.fetched.taken.cpu.system)),
            server_cpu: all(|run| Some(run.served.cpu.total())),
            peak_memory: all(|run| Some(run.fetched.peak_memory as f64)),
            server_peak_memory: all(|run| Some(run.served.peak_memory as f64)),
            resolve_seconds: all(|run| run.fetched.resolve_seconds),
            prepare_seconds: all(|run| run.fetched.prepare_seconds),
        }
    }
}

/// The speed of Phase in relation to the ceiling, which is the fastest of the other contenders.
struct Comparison {
    ceiling: Contender,
    /// The median speed of Phase divided by the median speed of the ceiling.
    ratio: f64,
    /// The lowest and the highest value of this ratio in a single round.
    rounds: (f64, f64),
}

impl Comparison {
    fn of(summaries: &[Summary]) -> Option<Self> {
        let phase = summaries.iter().find(|summary| summary.contender == Contender::Phase)?;
        let bare = summaries.iter().filter(|summary| summary.contender != Contender::Phase);
        let ceiling = bare.min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
        let pairs = ceiling.all_seconds.iter().zip(&phase.all_seconds);
        Some(Self {
            ceiling: ceiling.contender,
            ratio: ceiling.seconds / phase.seconds,
            rounds: range(pairs.map(|(bare, phase)| bare / phase)),
        })
    }
}

fn print_text(options: &Options, summaries: &[Summary], comparison: Option<&Comparison>) {
    let mut table = Table::of([
        "median of rounds",
        "seconds",
        "least..most",
        "MiB/s",
        "CPU user+sys",
        "server CPU",
        "peak MiB",
        "server",
    ]);
    for summary in summaries {
        let (least, most) = range(summary.all_seconds.iter().copied());
        table.row([
            summary.contender.to_string(),
            format!("{:.3}", summary.seconds),
            format!("{least:.3}..{most:.3}"),
            format!("{:.0}", summary.rate),
            format!("{:.2}+{:.2}", summary.user, summary.system),
            format!("{:.2}", summary.server_cpu),
            format!("{:.0}", mib(summary.peak_memory)),
            format!("{:.0}", mib(summary.server_peak_memory)),
        ]);
    }
    println!(
        "\n{} over {}; rounds: {}, contenders in turn, a new process pair each",
        options.size,
        options.transport.name(),
        options.rounds
    );
    println!("\n{table}\n{INSIDE}");
    println!(
        "CPU: of the fetching process within these seconds; of the server since its start. Peak: resident memory, \
         since the start of the process"
    );
    for summary in summaries.iter().filter(|summary| !summary.resolve_seconds.is_nan()) {
        println!(
            "{}: resolving the name {:.3} s (before these seconds); finding peers and the index {:.3} s (within them)",
            summary.contender, summary.resolve_seconds, summary.prepare_seconds,
        );
    }
    if let Some(Comparison { ceiling, ratio, rounds: (least, most) }) = comparison {
        println!("\nPhase / bare ({}): {ratio:.2}   (single rounds: {least:.2} to {most:.2})", ceiling);
    }
}

fn to_json(options: &Options, runs: &[Run], summaries: &[Summary], comparison: Option<&Comparison>) -> Value {
    let rounds = runs.iter().map(|run| {
        json!({ "round": run.round, "contender": run.contender.to_string(), "fetched": run.fetched, "served": run.served })
    });
    let medians = summaries.iter().map(|summary| {
        json!({
            "contender": summary.contender.to_string(),
            "seconds": summary.seconds,
            "mib_per_second": summary.rate,
            "cpu_user_seconds": summary.user,
            "cpu_system_seconds": summary.system,
            "server_cpu_seconds": summary.server_cpu,
            "peak_memory_bytes": summary.peak_memory,
            "server_peak_memory_bytes": summary.server_peak_memory,
            "resolve_seconds": summary.resolve_seconds,
            "prepare_seconds": summary.prepare_seconds,
        })
    });
    json!({
        "size": options.size.0,
        "transport": options.transport.name(),
        "inside_the_time": INSIDE,
        "rounds": rounds.collect::<Vec<_>>(),
        "medians": medians.collect::<Vec<_>>(),
        "ceiling": comparison.map(|comparison| comparison.ceiling.to_string()),
        "ratio": comparison.map(|comparison| comparison.ratio),
        "ratio_least_in_a_round": comparison.map(|comparison| comparison.rounds.0),
        "ratio_most_in_a_round": comparison.map(|comparison| comparison.rounds.1),
    })
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
