//! The data model of `report.json`: the measurements of a scenario in containers. Every page and picture is made from
//! these measurements.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::points::percentile;

/// The version of the JSON form of a report. Every incompatible change increases the version. A new key is a compatible
/// change.
pub const VERSION: u32 = 1;

/// The measurements of a scenario and of its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the JSON form of this record, which is [`VERSION`].
    pub version: u32,
    /// The name of the scenario.
    pub scenario: String,
    /// A one-line description of the scenario, possibly empty.
    pub about: String,
    /// The text of the scenario file.
    pub definition: String,
    /// The time at which the first run began, in Unix seconds.
    pub taken_at: u64,
    /// The machine on which all containers ran.
    pub host: Host,
    /// The runs, one for each number of seeds or clients in the scenario file.
    pub runs: Vec<Run>,
}

/// The machine on which the containers ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The number of processors.
    pub cores: u32,
    /// The size of the machine's RAM in bytes.
    pub memory: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The Docker engine's version.
    pub docker: String,
    /// How the binaries in the image were built.
    pub binaries: String,
}

/// The setup and the measurements of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The name of the run, such as `throughput-4`: the name of the scenario, followed by the number of seeds or
    /// clients if the file lists several numbers.
    pub label: String,
    /// The nodes, network links and artifacts of the run.
    pub setup: Setup,
    /// T_min in seconds: no schedule could finish in less time. See [`phase_scenario::t_min`].
    pub t_min: f64,
    /// The events that happened, in the order of time.
    pub events: Vec<EventRecord>,
    /// The measurements of the run over Phase.
    pub phase: Outcome,
    /// The measurements of the undisturbed run over Phase. `None` if the scenario has neither events nor hostile nodes.
    pub undisturbed: Option<Outcome>,
    /// The measurements of the HTTP baseline. `None` if the baseline was not run.
    pub http: Option<Outcome>,
    /// The finish times that the simulator predicts. `None` if the simulator cannot run the scenario, or if a simulated
    /// client does not finish.
    pub simulated: Option<Prediction>,
    /// One message for each broken promise, and for each failure of another kind.
    pub broken: Vec<String>,
}

/// The nodes, network links and artifacts of a run. Rates are in bytes of TCP payload per second. Times are in seconds,
/// and sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The artifacts that every client fetches.
    pub artifacts: Vec<ArtifactRecord>,
    /// The upload limit of each seed. `None` means no limit.
    pub seed_up: Vec<Option<f64>>,
    /// The number of clients.
    pub clients: u32,
    /// The upload limit of each client. `None` means no limit.
    pub client_up: Option<f64>,
    /// The download limit of each client. `None` means no limit.
    pub client_down: Option<f64>,
    /// The one-way latency that was added between every two nodes.
    pub latency: f64,
    /// The kind of each hostile node.
    pub hostile: Vec<String>,
}

/// An artifact that the clients of a run fetch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// The file name of the artifact.
    pub filename: String,
    /// The size of the artifact in bytes.
    pub size: u64,
    /// The kind of bytes in the artifact, for instance `noise`.
    pub kind: String,
}

/// An event that happened to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The time of the event, in seconds since the start of the clients.
    pub at: f64,
    /// The node and its change, for example `seed 1: killed`.
    pub text: String,
}

/// The measurements of one distribution of the artifacts, over Phase or over HTTP. Times are in seconds since the start
/// of the clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// All clients, in the order of their numbers.
    pub clients: Vec<ClientRecord>,
    /// All containers, including the containers of clients.
    pub nodes: Vec<NodeRecord>,
}

/// The measurements of one client in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// The name of the client, such as `client 3`.
    pub name: String,
    /// The time at which the client was started.
    pub started: f64,
    /// The time at which the client had all artifacts. `None` if the client did not finish.
    pub finished: Option<f64>,
    /// The duration of the download in seconds, as reported by the client. It does not include the start of the program
    /// and the search for peers.
    pub download_seconds: Option<f64>,
    /// Whether the client's files have the same SHA-256 as the published files. `None` if the client did not finish.
    pub is_correct: Option<bool>,
    /// Whether the client must finish. `false` if an event stops or freezes the client for good.
    pub must_finish: bool,
    /// The error with which the client failed. `None` if it did not fail.
    pub error: Option<String>,
    /// The number of bytes that the client fetched from each node and verified. The key is the name of the node.
    pub by_source: BTreeMap<String, u64>,
    /// The number of bytes that the client received twice.
    pub duplicate_bytes: u64,
    /// The number of chunks that were requested but not delivered, so that they were missing again.
    pub reassigned_chunks: u64,
    /// The names of the peers that the client banned.
    pub banned: Vec<String>,
    /// The number of bytes that the client had verified, at several times.
    pub progress: Vec<Progress>,
}

/// The progress of a client at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The time of the measurement, in seconds since the start of the clients.
    pub at: f64,
    /// The number of bytes that the client had verified at the time `at`.
    pub verified: u64,
}

/// The resources that a container used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The name of the container, such as `bootstrap`, `seed 0`, `hostile 1`, `client 3` or `http server`.
    pub name: String,
    /// The resources that the container had used, at several times. The processor time and the numbers of bytes never
    /// decrease, because a restart of the node does not reset them.
    pub samples: Vec<Usage>,
}

/// The resources that a container had used up to a given time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The time of the measurement, in seconds since the start of the clients.
    pub at: f64,
    /// The user and system processor time that the container had used until `at`, in seconds.
    pub cpu: f64,
    /// The resident memory of the container at the time `at`, in bytes.
    pub memory: u64,
    /// The number of bytes that the container had sent until `at`, including all headers.
    pub sent: u64,
    /// The number of bytes that the container had received until `at`, including all headers.
    pub received: u64,
}

/// The finish times that the simulator predicts, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The predicted time at which half of the clients have finished.
    pub p50: f64,
    /// The predicted time at which 99 % of the clients have finished.
    pub p99: f64,
    /// The predicted time at which all clients have finished.
    pub last: f64,
}

impl Record {
    /// Whether all runs succeeded and kept all promises.
    pub fn held(&self) -> bool {
        self.runs.iter().all(Run::held)
    }
}

impl Run {
    /// Whether the run succeeded and kept all promises.
    pub fn held(&self) -> bool {
        self.broken.is_empty()
    }

    /// Returns the time of the last client over HTTP, divided by the time of the last client over Phase. `None` if one
    /// of the two times is unknown.
    pub fn times_faster_than_http(&self) -> Option<f64> {
        Some(self.http.as_ref()?.percentile(1.0)? / self.phase.percentile(1.0)?)
    }

    /// Returns the total download rate of all clients, divided by the total upload rate of the seeds. The total
    /// download rate is the number of bytes that all clients fetched, divided by the longest download time of a client.
    /// `None` if a download time is unknown.
    pub fn throughput(&self) -> Option<f64> {
        let clients: Vec<_> = self.phase.clients_that_must_finish().collect();
        let seconds = clients.iter().map(|client| client.download_seconds).collect::<Option<Vec<_>>>()?;
        let slowest = seconds.into_iter().fold(0.0, f64::max);
        let sum: f64 = self.setup.seed_up.iter().map(|rate| rate.unwrap_or(f64::INFINITY)).sum();
        Some((self.setup.size() * clients.len() as u64) as f64 / slowest / sum)
    }

    /// Returns the time of the last client, divided by the time of the last client in the undisturbed run. `None` if
    /// one of the two times is unknown.
    pub fn slowdown(&self) -> Option<f64> {
        Some(self.phase.percentile(1.0)? / self.undisturbed.as_ref()?.percentile(1.0)?)
    }

    /// Returns the relative errors of two predictions of the simulator, with their names: `p50`, and `last` for the
    /// time of the last client.
    pub fn prediction_errors(&self) -> [(&'static str, Option<f64>); 2] {
        let error = |part: f64, predicted: Option<f64>| {
            let predicted = predicted?;
            Some((self.phase.percentile(part)? / predicted - 1.0).abs())
        };
        let simulated = self.simulated;
        let [p50, last] = [simulated.map(|predicted| predicted.p50), simulated.map(|predicted| predicted.last)];
        [("p50", error(0.5, p50)), ("last", error(1.0, last))]
    }

    /// Returns the bytes that seeds sent, including all headers, divided by the size of all artifacts.
    pub fn seed_copies(&self) -> f64 {
        let seeds = self.phase.nodes.iter().filter(|node| node.name.starts_with("seed"));
        seeds.map(|seed| seed.sent() as f64).sum::<f64>() / self.setup.size() as f64
    }
}

impl Setup {
    /// Returns the size of all artifacts in bytes.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.size).sum()
    }
}

impl Outcome {
    /// Returns the sorted durations of the fetches, each from the start of the client. Only clients that must finish
    /// and did finish are included.
    pub fn times(&self) -> Vec<f64> {
        let mut times: Vec<_> = self.clients_that_must_finish().filter_map(ClientRecord::seconds).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Returns the time in which this part of the clients finished, or `None` if fewer finished. For instance, `part`
    /// is 0.5 for half of the clients. Clients that need not finish are ignored.
    pub fn percentile(&self, part: f64) -> Option<f64> {
        percentile(&self.times(), self.clients_that_must_finish().count() as u32, part)
    }

    /// Returns the clients that must finish.
    pub fn clients_that_must_finish(&self) -> impl Iterator<Item = &ClientRecord> {
        self.clients.iter().filter(|client| client.must_finish)
    }

    /// Returns the bytes that clients received twice, divided by the bytes that they fetched and verified.
    pub fn duplicates(&self) -> f64 {
        let twice: u64 = self.clients.iter().map(|client| client.duplicate_bytes).sum();
        let once: u64 = self.clients.iter().flat_map(|client| client.by_source.values()).sum();
        if once == 0 { 0.0 } else { twice as f64 / once as f64 }
    }
}

impl ClientRecord {
    /// Returns the duration of the fetch in seconds, or `None` if the client did not finish.
    pub fn seconds(&self) -> Option<f64> {
        self.finished.map(|finished| finished - self.started)
    }
}

impl NodeRecord {
    /// Returns the number of bytes that the container sent, including all headers.
    pub fn sent(&self) -> u64 {
        self.samples.last().map_or(0, |usage| usage.sent)
    }

    /// Returns the processor time that the container used, in seconds.
    pub fn cpu(&self) -> f64 {
        self.samples.last().map_or(0.0, |usage| usage.cpu)
    }

    /// Returns the largest sampled resident memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.samples.iter().map(|usage| usage.memory).max().unwrap_or(0)
    }
}
