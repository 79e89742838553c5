//! The form of `report.json`: what a scenario showed on containers. Every page and picture is made from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::points::percentile;

/// Grows when a reader of the last version would misunderstand the next. New keys do not count.
pub const VERSION: u32 = 1;

/// A scenario and its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The name of the scenario.
    pub scenario: String,
    /// One line for people; may be empty.
    pub about: String,
    /// The scenario file, as it was read.
    pub definition: String,
    /// When the first run began: seconds since 1970.
    pub taken_at: u64,
    /// The machine under all containers.
    pub host: Host,
    /// Its runs: one for each number of seeds and clients.
    pub runs: Vec<Run>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Processors.
    pub cores: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The Docker engine's version.
    pub docker: String,
    /// How the binaries in the image were built.
    pub binaries: String,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name, with the number of seeds or clients where the file has several.
    pub label: String,
    /// What was set up.
    pub setup: Setup,
    /// The shortest time in which any scheme could finish, in seconds: `max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i))`.
    pub t_min: f64,
    /// What happened to nodes, in order.
    pub events: Vec<EventRecord>,
    /// What Phase did.
    pub phase: Outcome,
    /// What Phase did when nothing happened to nodes and nobody did harm, if something does.
    pub undisturbed: Option<Outcome>,
    /// The same artifacts over plain HTTP from one server, if that was measured.
    pub http: Option<Outcome>,
    /// What the simulator says of the same scenario, where it can.
    pub simulated: Option<Prediction>,
    /// What did not hold, one sentence each.
    pub broken: Vec<String>,
}

/// What was set up. Rates are in bytes of TCP payload per second, times in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// What is fetched.
    pub artifacts: Vec<ArtifactRecord>,
    /// What each seed sends at most; `None`: not limited.
    pub seed_up: Vec<Option<f64>>,
    /// Clients.
    pub clients: u32,
    /// What each client sends at most.
    pub client_up: Option<f64>,
    /// What each client receives at most.
    pub client_down: Option<f64>,
    /// The time from one node to another that was added.
    pub latency: f64,
    /// Hostile nodes, and what each does.
    pub hostile: Vec<String>,
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// Its file name.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// What is in it.
    pub kind: String,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When: seconds since the start.
    pub at: f64,
    /// To whom, and what: `seed 1: killed`.
    pub text: String,
}

/// How a way of distributing did. Times are seconds since clients were let go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Each client, in order.
    pub clients: Vec<ClientRecord>,
    /// Each container, clients too, in order.
    pub nodes: Vec<NodeRecord>,
}

/// What one client did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// `client 3`.
    pub name: String,
    /// When it was let go.
    pub started: f64,
    /// When it had everything.
    pub finished: Option<f64>,
    /// How long the download alone took, as the client says: without its start and the search for peers.
    pub download_seconds: Option<f64>,
    /// Whether its files are what was published, by SHA-256. `None` if it did not finish.
    pub is_correct: Option<bool>,
    /// Whether it is to finish: nobody takes it away for good.
    pub must_finish: bool,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Bytes that it fetched and verified, by the node that sent them.
    pub by_source: BTreeMap<String, u64>,
    /// Bytes that came twice.
    pub duplicate_bytes: u64,
    /// Chunks that were taken from one peer and given to another.
    pub reassigned_chunks: u64,
    /// Peers that it banned, by name.
    pub banned: Vec<String>,
    /// What it had verified in the course of time.
    pub progress: Vec<Progress>,
}

/// What a client had at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// When.
    pub at: f64,
    /// Bytes.
    pub verified: u64,
}

/// What a container used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// `bootstrap`, `seed 0`, `hostile 1`, `client 3`, `http server`.
    pub name: String,
    /// What it used in the course of time. All counters only grow; when a container is started again they go on.
    pub samples: Vec<Usage>,
}

/// What a container had used until a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// When.
    pub at: f64,
    /// Processor time in seconds, in the program and in the kernel for it.
    pub cpu: f64,
    /// Memory that is resident at that time, in bytes.
    pub memory: u64,
    /// Bytes sent, with all headers.
    pub sent: u64,
    /// Bytes received, with all headers.
    pub received: u64,
}

/// What the simulator says: when clients finish, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Half of them.
    pub p50: f64,
    /// 99 % of them.
    pub p99: f64,
    /// All of them.
    pub last: f64,
}

impl Record {
    /// Whether all that was promised held.
    pub fn held(&self) -> bool {
        self.runs.iter().all(Run::held)
    }
}

impl Run {
    /// Whether all that was promised held.
    pub fn held(&self) -> bool {
        self.broken.is_empty()
    }

    /// How many times sooner the last client finished than over HTTP.
    pub fn times_faster_than_http(&self) -> Option<f64> {
        Some(self.http.as_ref()?.percentile(1.0)? / self.phase.percentile(1.0)?)
    }

    /// What all clients received in the time that the last of them downloaded, as a part of what seeds may send in it.
    pub fn throughput(&self) -> Option<f64> {
        let clients: Vec<_> = self.phase.waited_for().collect();
        let seconds = clients.iter().map(|client| client.download_seconds).collect::<Option<Vec<_>>>()?;
        let slowest = seconds.into_iter().fold(0.0, f64::max);
        let sum: f64 = self.setup.seed_up.iter().map(|rate| rate.unwrap_or(f64::INFINITY)).sum();
        Some((self.setup.size() * clients.len() as u64) as f64 / slowest / sum)
    }

    /// How many times as long the last client took as when nothing happens to nodes.
    pub fn cost(&self) -> Option<f64> {
        Some(self.phase.percentile(1.0)? / self.undisturbed.as_ref()?.percentile(1.0)?)
    }

    /// By how much the time in which half of the clients, and in which all of them finish differs from what the simulator
    /// says, as a part of that.
    pub fn prediction_errors(&self) -> [(&'static str, Option<f64>); 2] {
        let error = |part: f64, predicted: Option<f64>| {
            let predicted = predicted?;
            Some((self.phase.percentile(part)? / predicted - 1.0).abs())
        };
        let simulated = self.simulated;
        [("p50", error(0.5, simulated.map(|said| said.p50))), ("last", error(1.0, simulated.map(|said| said.last)))]
    }

    /// Bytes that seeds put on the wire with all headers, as copies of what is fetched.
    pub fn seed_copies(&self) -> f64 {
        let seeds = self.phase.nodes.iter().filter(|node| node.name.starts_with("seed"));
        seeds.map(|seed| seed.sent() as f64).sum::<f64>() / self.setup.size() as f64
    }
}

impl Setup {
    /// Bytes that each client fetches.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.size).sum()
    }
}

impl Outcome {
    /// How long the clients took that are to finish, each since it was let go, sorted; without those that did not finish.
    pub fn times(&self) -> Vec<f64> {
        let mut times: Vec<_> = self.waited_for().filter_map(ClientRecord::seconds).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// How long the quicker part of the clients took, if so many of those that are to finish did.
    pub fn percentile(&self, part: f64) -> Option<f64> {
        percentile(&self.times(), self.waited_for().count() as u32, part)
    }

    /// Clients that are to finish.
    pub fn waited_for(&self) -> impl Iterator<Item = &ClientRecord> {
        self.clients.iter().filter(|client| client.must_finish)
    }

    /// Bytes that came twice, as a part of all that clients fetched.
    pub fn duplicates(&self) -> f64 {
        let twice: u64 = self.clients.iter().map(|client| client.duplicate_bytes).sum();
        let once: u64 = self.clients.iter().flat_map(|client| client.by_source.values()).sum();
        if once == 0 { 0.0 } else { twice as f64 / once as f64 }
    }
}

impl ClientRecord {
    /// How long it took.
    pub fn seconds(&self) -> Option<f64> {
        self.finished.map(|finished| finished - self.started)
    }
}

impl NodeRecord {
    /// Bytes that it sent in all.
    pub fn sent(&self) -> u64 {
        self.samples.last().map_or(0, |usage| usage.sent)
    }

    /// Processor time in seconds that it took in all.
    pub fn cpu(&self) -> f64 {
        self.samples.last().map_or(0.0, |usage| usage.cpu)
    }

    /// The most memory that it was seen to have.
    pub fn peak_memory(&self) -> u64 {
        self.samples.iter().map(|usage| usage.memory).max().unwrap_or(0)
    }
}
