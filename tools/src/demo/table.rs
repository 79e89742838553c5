//! The demo's result as a table, as JSON, and as a verdict.

use std::fmt::Write as _;

use phase_cli::{self as cli, ByteRate, Bytes, counted};
use phase_client::{Report, Resolved, Verdict};
use phase_node::PeerId;
use serde_json::{Value, json};

/// The measurements of the demo.
pub(super) struct Outcome<'a> {
    pub(super) resolved: &'a Resolved,
    pub(super) report: &'a Report,
    /// The providers, in the order in which they were started.
    pub(super) peers: &'a [PeerId],
    /// The position in `peers` of the provider that was killed.
    pub(super) killed: Option<usize>,
    /// The number of artifacts that were compared by SHA-256, or a message about the first difference.
    pub(super) compared: Result<usize, String>,
}

impl Outcome<'_> {
    /// Returns the result as a table, without a line break at its end.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let report = self.report;
        let seconds = report.elapsed.as_secs_f64();
        let _ = writeln!(out, "\n  {:<10} {:>12} {:>8} {:>14}  ended", "provider", "bytes", "chunks", "rate");
        for (number, peer) in self.peers.iter().enumerate() {
            let row = report.peers.get(peer);
            let _ = writeln!(
                out,
                "  {:<10} {:>12} {:>8} {:>14}  {}",
                number + 1,
                Bytes(row.map_or(0, |row| row.bytes)).to_string(),
                row.map_or(0, |row| row.chunks),
                ByteRate(row.map_or(0.0, phase_client::PeerReport::rate)).to_string(),
                self.ending(number),
            );
        }
        let resolve_time = cli::seconds(self.resolved.elapsed.as_secs_f64());
        let _ = writeln!(out, "\n  time to resolve    {resolve_time}");
        let _ = writeln!(out, "  fetched            {} in {}", Bytes(report.total), cli::seconds(seconds));
        let _ = writeln!(out, "  total rate         {}", ByteRate(report.total as f64 / seconds));
        let _ = writeln!(out, "  chunks reassigned  {}", report.reassigned);
        let _ = writeln!(out, "  received twice     {}", Bytes(report.duplicate_bytes));
        match &self.compared {
            Ok(count) => {
                let artifacts = counted(*count, "artifact is", "artifacts are");
                _ = writeln!(out, "  SHA-256            {artifacts} equal to the published files");
            }
            Err(error) => _ = writeln!(out, "  SHA-256            {error}"),
        }
        match self.verdict() {
            Ok(()) => {
                _ = write!(
                    out,
                    "  verdict            fetched and verified from {} providers, one of which was lost",
                    self.used()
                )
            }
            Err(error) => _ = write!(out, "  verdict            {error}"),
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let report = self.report;
        let peers = self.peers.iter().enumerate().map(|(number, peer)| {
            let row = report.peers.get(peer);
            json!({
                "peer": peer.to_string(),
                "bytes": row.map_or(0, |row| row.bytes),
                "chunks": row.map_or(0, |row| row.chunks),
                "bytes_per_second": row.map_or(0.0, phase_client::PeerReport::rate),
                "ended": self.ending(number),
                "killed": self.killed == Some(number),
            })
        });
        json!({
            "resolve_seconds": self.resolved.elapsed.as_secs_f64(),
            "fetch_seconds": report.elapsed.as_secs_f64(),
            "bytes": report.total,
            "artifacts": self.resolved.manifest.artifacts.len(),
            "providers": peers.collect::<Vec<_>>(),
            "chunks_reassigned": report.reassigned,
            "duplicate_bytes": report.duplicate_bytes,
            "sha256_equal": self.compared.is_ok(),
            "verdict": self.verdict().err().unwrap_or_else(|| "ok".to_owned()),
        })
    }

    /// Checks that every fetched file is equal to the published file, that every provider was used, and that the killed
    /// provider was reported as lost.
    pub(super) fn verdict(&self) -> Result<(), String> {
        if let Err(error) = &self.compared {
            return Err(error.clone());
        }
        let Some(killed) = self.killed else {
            return Err("the fetch ended before a provider could be killed".to_owned());
        };
        if self.used() < self.peers.len() {
            return Err(format!("the client used only {} of {} providers", self.used(), self.peers.len()));
        }
        match self.report.peers.get(&self.peers[killed]).map(|row| &row.verdict) {
            Some(Verdict::Lost(_)) => Ok(()),
            _ => Err("the client did not notice the loss of a provider".to_owned()),
        }
    }

    /// Returns the number of providers that delivered chunks.
    fn used(&self) -> usize {
        let delivered = |peer: &&PeerId| self.report.peers.get(*peer).is_some_and(|row| row.bytes > 0);
        self.peers.iter().filter(delivered).count()
    }

    /// Returns how the link to the provider at the position `number` ended, as text.
    fn ending(&self, number: usize) -> String {
        match self.report.peers.get(&self.peers[number]).map(|row| &row.verdict) {
            Some(Verdict::Good) => "used to the end".to_owned(),
            Some(Verdict::Lost(reason)) => format!("lost: {reason}"),
            Some(Verdict::Banned(reason)) => format!("banned: {reason}"),
            None => "never connected".to_owned(),
        }
    }
}
