//! The state of one client during a stage, derived from the lines that the client prints.

use std::collections::BTreeMap;

use phase_report::lab::record::{ClientRecord, Progress};

use crate::observe::{Line, Peers};

/// The least time between two points in the record of a client's progress, in seconds.
const PROGRESS_INTERVAL: f64 = 0.25;

/// The state and the record of a client during a stage.
pub(super) struct Client {
    record: ClientRecord,
    state: State,
    /// The peers in the client's result. Each entry has the peer id, the number of bytes received from the peer, and
    /// whether the client banned the peer.
    peers: Vec<(String, u64, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client is not running, because the lab has not started it yet or has ended it.
    Away,
    /// The client is fetching.
    UnderWay,
    /// The client has fetched the whole release.
    Done,
    /// The client has fetched the whole release, and the lab replaces the client with a provider.
    Handled,
    /// The client's process exited by itself before the client had the whole release.
    Failed,
}

impl Client {
    pub(super) fn new(name: String, must_finish: bool) -> Self {
        let record = ClientRecord { name, must_finish, ..ClientRecord::default() };
        Self { record, state: State::Away, peers: Vec::new() }
    }

    /// Notes that the client was started, for the first time or again. `at` is in seconds since the start of the run.
    pub(super) fn begin(&mut self, at: f64) {
        if self.state == State::Away && self.record.progress.is_empty() && self.record.started == 0.0 {
            self.record.started = at;
        }
        if !self.is_done() {
            self.state = State::UnderWay;
        }
    }

    /// Notes that the lab ended the client's process.
    pub(super) fn interrupt(&mut self) {
        if self.state == State::UnderWay {
            self.state = State::Away;
        }
    }

    /// Notes that the client's process exited by itself before the client had the whole release.
    pub(super) fn fail(&mut self, error: String) {
        self.record.error = Some(error);
        self.state = State::Failed;
    }

    /// Updates the client from a line that it printed. `begun` is the start of the run in Unix seconds.
    pub(super) fn take(&mut self, line: &Line, begun: f64) {
        let at = (line.time - begun).max(0.0);
        match line.event.as_str() {
            "progress" => self.progress(at, line.verified.unwrap_or(0)),
            "fetched" if !self.is_done() => {
                self.record.finished = Some(at);
                self.record.download_seconds = line.seconds;
                self.record.duplicate_bytes = line.duplicate_bytes;
                self.record.reassigned_chunks = line.reassigned_chunks;
                self.record.progress.push(Progress { at, verified: line.bytes.unwrap_or(0) });
                if let Peers::Each(peers) = &line.peers {
                    let each = peers.iter().map(|peer| (peer.peer.clone(), peer.bytes, peer.verdict == "banned"));
                    self.peers = each.collect();
                }
                self.state = State::Done;
            }
            _ => {}
        }
    }

    fn progress(&mut self, at: f64, verified: u64) {
        let last = self.record.progress.last().map_or(f64::NEG_INFINITY, |last| last.at);
        if at - last >= PROGRESS_INTERVAL {
            self.record.progress.push(Progress { at, verified });
        }
    }

    /// Returns the number of bytes that the client has verified.
    pub(super) fn verified(&self) -> u64 {
        self.record.progress.last().map_or(0, |last| last.verified)
    }

    /// Whether the client has the whole release.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Handled)
    }

    /// Whether the client was started and is still fetching.
    pub(super) fn is_under_way(&self) -> bool {
        self.state == State::UnderWay
    }

    /// Whether the run may end without waiting for this client.
    pub(super) fn is_over(&self) -> bool {
        self.is_done() || self.state == State::Failed || (self.state == State::Away && !self.record.must_finish)
    }

    /// Returns true on the first call after the client has fetched the whole release, so that the client is replaced
    /// only once.
    pub(super) fn becomes_provider(&mut self) -> bool {
        let is_new = self.state == State::Done;
        if is_new {
            self.state = State::Handled;
        }
        is_new
    }

    /// Returns the client's record, with the names of nodes instead of peer ids.
    pub(super) fn into_record(mut self, names: &BTreeMap<String, String>) -> ClientRecord {
        for (peer, bytes, is_banned) in self.peers {
            let name = names.get(&peer).cloned().unwrap_or(peer);
            if is_banned {
                self.record.banned.push(name.clone());
            }
            if bytes > 0 {
                *self.record.by_source.entry(name).or_default() += bytes;
            }
        }
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Peer;

    #[test]
    fn a_client_that_is_started_again_counts_from_its_first_start() {
        let mut client = Client::new("client 0".to_owned(), true);
        let line = |event: &str, time| Line { event: event.to_owned(), time, verified: Some(5), ..Line::default() };
        client.begin(2.0);
        client.take(&line("progress", 103.0), 100.0);
        client.interrupt();
        assert!(!client.is_over() && !client.is_under_way(), "it must finish, so the run waits for it");
        client.begin(6.0);
        let peers = [("a", 7, "good"), ("b", 0, "banned")];
        let peers =
            peers.map(|(peer, bytes, verdict)| Peer { peer: peer.to_owned(), bytes, verdict: verdict.to_owned() });
        client.take(&Line { peers: Peers::Each(peers.into()), ..line("fetched", 109.0) }, 100.0);
        assert!(client.is_over() && client.becomes_provider() && !client.becomes_provider());
        client.interrupt();
        assert!(client.is_done(), "an interruption does not undo a finished fetch");
        let names = BTreeMap::from([("a".to_owned(), "seed 0".to_owned()), ("b".to_owned(), "hostile 0".to_owned())]);
        let record = client.into_record(&names);
        assert_eq!((record.started, record.finished, record.seconds()), (2.0, Some(9.0), Some(7.0)));
        assert_eq!(record.by_source, BTreeMap::from([("seed 0".to_owned(), 7)]));
        assert_eq!(record.banned, ["hostile 0"]);
    }

    #[test]
    fn a_run_does_not_wait_for_a_client_that_was_removed_for_good() {
        let mut client = Client::new("client 0".to_owned(), false);
        client.begin(0.0);
        assert!(!client.is_over());
        client.interrupt();
        assert!(client.is_over());
    }
}
