//! Made-up records for tests: good runs, failed runs, and runs with impossible values.

use super::record::{
    ArtifactRecord, ClientRecord, EventRecord, Host, NodeRecord, Outcome, Prediction, Progress, Record, Run, Setup,
    Usage, VERSION,
};

const SIZE: u64 = 160 << 20;
/// The upload rate of seeds and clients in bytes per second, which is 100 Mbit/s.
const UP: f64 = 12.5e6;

/// Returns a record of 32 clients and one seed, with an HTTP baseline that took 430 s.
pub(crate) fn crowd() -> Record {
    let mut record = of_clients(32, Some(430.0));
    record.runs[0].simulated = Some(Prediction { p50: 14.4, p99: 14.9, last: 15.1 });
    record
}

/// Returns a record of the given number of clients and one seed. `http` is the time in seconds at which the last client
/// finished over HTTP.
pub(crate) fn of_clients(clients: u32, http: Option<f64>) -> Record {
    // The finish times are between 14.2 s and 16.4 s, and not in the order of the clients.
    let finished = |client: u32| 14.2 + f64::from(client * 7919 % clients) / f64::from(clients) * 2.2;
    let fetched = |client: u32| {
        let seed = SIZE / u64::from(clients) + u64::from(client % 5) * (1 << 20);
        let each = (SIZE - seed) / u64::from(clients - 1).max(1);
        let from = (0..clients).filter(|other| *other != client).map(|other| (format!("client {other}"), each));
        let by_source = from.chain([("seed 0".to_owned(), seed)]).collect();
        ClientRecord { by_source, duplicate_bytes: u64::from(client % 3) << 18, ..fetched(client, finished(client)) }
    };
    let phase = Outcome { clients: (0..clients).map(fetched).collect(), nodes: nodes(1, clients, 16.5) };
    let over_http = |last: f64, client| self::fetched(client, last * (1.0 - f64::from(clients - 1 - client) * 1e-3));
    let http = http.map(|last| Outcome {
        clients: (0..clients).map(|client| over_http(last, client)).collect(),
        nodes: vec![NodeRecord { name: "http server".to_owned(), samples: usage(last, 0.06, 9.0) }],
    });
    record("crowd", Run { phase, http, t_min: 13.01, ..run("crowd", clients, &[UP]) })
}

/// Returns a record of one client and three seeds. One seed is killed and started again, and another seed is slowed.
pub(crate) fn one() -> Record {
    let by_source = [("seed 0", SIZE / 2), ("seed 1", SIZE / 8), ("seed 2", SIZE * 3 / 8)];
    let by_source = by_source.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    let client = ClientRecord { by_source, reassigned_chunks: 6, ..fetched(0, 8.4) };
    let phase = Outcome { clients: vec![client], nodes: nodes(3, 1, 8.6) };
    let events = [(1.5, "seed 1: killed"), (1.9, "seed 2: slowed to 10 Mbit/s"), (5.0, "seed 1: started again")];
    let events = events.map(|(at, text)| EventRecord { at, text: text.to_owned() }).into();
    let mut run = Run { phase, events, t_min: 6.71, ..run("failover", 1, &[UP, UP, UP / 2.0]) };
    run.setup.client_down = Some(25e6);
    record("failover", run)
}

/// Returns a failed record, with a hostile node, a client that failed with an error, and a client that did not finish.
pub(crate) fn failed() -> Record {
    let mut record = of_clients(3, None);
    let run = &mut record.runs[0];
    run.setup.hostile = vec!["sends wrong bytes".to_owned()];
    let [first, second, third] = run.phase.clients.as_mut_slice() else { panic!("expected three clients") };
    first.banned = vec!["hostile 0".to_owned()];
    first.by_source.insert("hostile 0".to_owned(), 1 << 20);
    second.error = Some("no provider left".to_owned());
    for unfinished in [second, third] {
        (unfinished.finished, unfinished.is_correct) = (None, None);
    }
    run.broken = ["client 1 did not finish", "client 2 did not finish"].map(str::to_owned).into();
    record
}

/// Returns the record of a run without nodes and without measurements.
pub(crate) fn empty() -> Record {
    let run = Run { label: "empty".to_owned(), t_min: f64::NAN, ..Run::default() };
    Record { host: Host::default(), taken_at: 0, ..record("empty", run) }
}

/// Returns the record of a run with impossible figures.
pub(crate) fn absurd() -> Record {
    let mut record = of_clients(5, Some(f64::MAX));
    let run = &mut record.runs[0];
    run.t_min = f64::MAX;
    run.setup.client_up = Some(f64::MAX);
    run.setup.client_down = Some(f64::INFINITY);
    run.simulated = Some(Prediction { p50: f64::NAN, p99: -1.0, last: f64::INFINITY });
    run.events.push(EventRecord { at: f64::NAN, text: "never".to_owned() });
    run.events.push(EventRecord { at: -5.0, text: "x".repeat(10_000) });
    let [first, second, third, fourth, _] = run.phase.clients.as_mut_slice() else { panic!("expected five clients") };
    first.finished = Some(f64::INFINITY);
    second.progress.clear();
    third.progress = vec![Progress { at: f64::NAN, verified: u64::MAX }, Progress { at: 0.0, verified: u64::MAX }];
    third.started = 1e9;
    fourth.duplicate_bytes = 1 << 60;
    run.phase.nodes[0].samples = vec![Usage { at: f64::NAN, ..Usage::default() }; 3];
    run.phase.nodes[1].samples =
        vec![Usage::default(), Usage { at: 1.0, cpu: f64::MAX, memory: u64::MAX, sent: u64::MAX, received: 0 }];
    record
}

/// Returns a record in which every name contains HTML, Markdown and terminal escape sequences.
pub(crate) fn hostile_names() -> Record {
    let evil = "<script>alert(1)</script>|\n| `x` <img src=x onerror=y> \u{1b}[31m & \"'";
    let mut record = failed();
    record.scenario = evil.to_owned();
    record.about = evil.to_owned();
    record.definition = format!("name = 1\n```\n{evil}");
    record.host = Host { kernel: evil.to_owned(), docker: evil.to_owned(), binaries: evil.to_owned(), ..record.host };
    let run = &mut record.runs[0];
    run.label = format!("{evil}/../../x");
    run.setup.artifacts[0].filename = evil.to_owned();
    run.setup.hostile = vec![evil.to_owned()];
    run.events.push(EventRecord { at: 3.0, text: evil.to_owned() });
    run.broken.push(evil.to_owned());
    for client in &mut run.phase.clients {
        client.name = evil.to_owned();
        client.error = Some(evil.to_owned());
        client.banned = vec![evil.to_owned()];
        client.by_source.insert(format!("seed {evil}"), 1 << 20);
    }
    run.phase.nodes[0].name = evil.to_owned();
    record
}

fn record(scenario: &str, run: Run) -> Record {
    let (kernel, docker, binaries) = ("6.1.0".to_owned(), "27.3.1".to_owned(), "release".to_owned());
    Record {
        version: VERSION,
        scenario: scenario.to_owned(),
        about: "A release day: many clients at once.".to_owned(),
        definition: format!("name = \"{scenario}\"\n"),
        taken_at: 1_795_312_387,
        host: Host { cores: 8, memory: 32 << 30, kernel, docker, binaries },
        runs: vec![run],
    }
}

fn run(label: &str, clients: u32, seeds: &[f64]) -> Run {
    let artifact = ArtifactRecord { filename: "image.bin".to_owned(), size: SIZE, kind: "random".to_owned() };
    let setup = Setup {
        artifacts: vec![artifact],
        seed_up: seeds.iter().copied().map(Some).collect(),
        clients,
        client_up: Some(UP),
        client_down: Some(125e6),
        latency: 0.02,
        hostile: Vec::new(),
    };
    Run { label: label.to_owned(), setup, ..Run::default() }
}

/// Returns a client that fetched at a constant rate and finished at the given time.
fn fetched(number: u32, finished: f64) -> ClientRecord {
    let progress = (0..60)
        .map(|sample| f64::from(sample) / 60.0)
        .map(|passed| Progress { at: thousandths(passed * finished), verified: (passed * SIZE as f64) as u64 });
    ClientRecord {
        name: format!("client {number}"),
        finished: Some(thousandths(finished)),
        is_correct: Some(true),
        must_finish: true,
        progress: progress.collect(),
        ..ClientRecord::default()
    }
}

fn nodes(seeds: u32, clients: u32, end: f64) -> Vec<NodeRecord> {
    let node = |name: String, load, mib| NodeRecord { name, samples: usage(end, load, mib) };
    let seeds = (0..seeds).map(|seed| node(format!("seed {seed}"), 0.12, 24.0));
    let clients = (0..clients).map(|client| node(format!("client {client}"), 0.2 + f64::from(client % 7) * 0.02, 30.0));
    std::iter::once(node("bootstrap".to_owned(), 0.005, 8.0)).chain(seeds).chain(clients).collect()
}

/// Returns samples of the resources of a container until the time `end`. The processor load (`load`, in cores) and the
/// memory (`mib`, in MiB) are constant.
fn usage(end: f64, load: f64, mib: f64) -> Vec<Usage> {
    let sample = |number| {
        let passed = f64::from(number) / 50.0;
        let (cpu, bytes) = (thousandths(end * load * passed), (passed * SIZE as f64) as u64);
        let memory = (mib * 1048576.0) as u64;
        Usage { at: thousandths(passed * end), cpu, memory, sent: bytes, received: bytes }
    };
    (0..=50).map(sample).collect()
}

/// Rounds to thousandths, because such numbers do not change when they are written as JSON and read again.
fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
