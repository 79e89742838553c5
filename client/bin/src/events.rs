//! Prints the events of a fetch for other programs. Each line is one JSON document that contains the time of the event.

use std::time::{SystemTime, UNIX_EPOCH};

use phase_cli::{self as cli, Fault, Fetched, Observer, Printer};
use phase_client::{Progress, Report, Resolved};
use phase_core::handover::HandoverError;
use phase_node::PeerId;
use serde_json::{Value, json};

/// An observer that prints one line per event. It skips a progress event if the number of verified bytes has not
/// changed.
pub(crate) struct Events {
    printer: Printer,
    /// The number of verified bytes in the last progress event.
    verified: Option<u64>,
}

impl Events {
    pub(crate) fn new(printer: Printer) -> Self {
        Self { printer, verified: None }
    }

    /// Prints an event. Ignores errors, because a closed pipe must not stop a boot.
    fn write(&self, event: &str, more: Value) {
        let _ = self.printer.print(&line(event, more));
    }
}

/// Returns an event as one line of JSON: its name, the Unix time in seconds with fractions, and the fields of `more`.
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
        self.write("started", json!({ "peer_id": peer.to_string() }));
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
        self.write("resolved", more);
    }

    fn progressed(&mut self, progress: &Progress) {
        if progress.total > 0 && self.verified.replace(progress.verified) != Some(progress.verified) {
            let Progress { verified, total, repeated, peers, .. } = progress;
            let more = json!({ "verified": verified, "total": total, "repeated": repeated, "peers": peers });
            self.write("progress", more);
        }
    }

    fn ended(&mut self) {}

    fn damaged(&mut self, error: &HandoverError) {
        self.write("damaged", json!({ "error": error.to_string() }));
        self.verified = None;
    }

    fn failed(&mut self, report: &Report) {
        self.write("failed", json!({ "peers": cli::json_peers(report) }));
    }

    fn fetched(&mut self, fetched: &Fetched) -> Result<(), Fault> {
        self.printer.print(&line("fetched", cli::json_report(fetched)))
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
