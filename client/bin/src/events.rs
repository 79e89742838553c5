//! What happens during a fetch, as JSON for machines: one document per line, each with the time.

use std::time::{SystemTime, UNIX_EPOCH};

use phase_cli::{self as cli, Fault, Fetched, Observer};
use phase_client::{Progress, Report, Resolved};
use phase_node::PeerId;
use serde_json::{Value, json};

/// Writes a line for each event. Progress that is none is not told.
#[derive(Default)]
pub(crate) struct Events {
    /// What was verified when it was told last.
    verified: Option<u64>,
}

impl Events {
    /// A reader that is gone must not stop a boot.
    fn tell(event: &str, more: Value) {
        let _ = cli::print(&line(event, more));
    }
}

/// One document: the event, Unix seconds with their fraction, and what belongs to it.
fn line(event: &str, more: Value) -> String {
    let mut document = json!({ "event": event, "time": seconds() });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    format!("{document}\n")
}

#[expect(clippy::disallowed_methods, reason = "binaries read the clock")]
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl Observer for Events {
    fn started(&mut self, peer: PeerId) {
        Self::tell("started", json!({ "peer_id": peer.to_string() }));
    }

    fn resolved(&mut self, resolved: &Resolved) {
        let manifest = &resolved.manifest;
        let more = json!({
            "name": resolved.name.to_string(),
            "version": manifest.version,
            "artifacts": manifest.artifacts.len(),
            "bytes": manifest.artifacts.iter().map(|entry| entry.size).sum::<u64>(),
            "providers": resolved.providers.len(),
        });
        Self::tell("resolved", more);
    }

    fn progressed(&mut self, progress: &Progress) {
        if progress.total > 0 && self.verified.replace(progress.verified) != Some(progress.verified) {
            let Progress { verified, total, peers, .. } = progress;
            Self::tell("progress", json!({ "verified": verified, "total": total, "peers": peers }));
        }
    }

    fn ended(&mut self) {}

    fn failed(&mut self, report: &Report) {
        Self::tell("failed", json!({ "peers": cli::json_peers(report) }));
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        cli::print(&line("fetched", cli::json_report(fetched)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_line_with_its_time() {
        let text = line("progress", json!({ "verified": 7, "note": "two\nlines" }));
        assert_eq!(text.matches('\n').count(), 1);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&document["event"], &document["verified"]), (&json!("progress"), &json!(7)));
        assert!(document["time"].as_f64().unwrap() > 1e9);
    }
}
