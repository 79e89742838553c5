//! Formats the result of a fetch as text and as JSON.

use phase_client::{Answer, PeerReport, Report, Verdict};
use phase_core::manifest::ArtifactEntry;
use phase_units::{ByteRate, Bytes, counted, seconds};
use serde_json::{Value, json};

use crate::fetch::Fetched;
use crate::text::printable;

/// Returns one line of text with the bytes, the time and the rate of a fetch.
pub fn summary_line(report: &Report) -> String {
    let fetched = report.to_fetch();
    if fetched == 0 {
        let stored = format!("nothing to fetch: {} were already in the store", Bytes(report.resumed));
        return stored + &repeated(report);
    }
    line(report, fetched, &Bytes(fetched).to_string())
}

/// Returns the summary line of a fetch that was given up, with the bytes that were received and the bytes that were
/// wanted.
pub fn incomplete_line(report: &Report) -> String {
    let wanted = report.to_fetch();
    let received: u64 = report.peers.values().map(|peer| peer.bytes).sum();
    line(report, received, &format!("{} of {}", Bytes(received), Bytes(wanted)))
}

/// Returns the summary line of a fetch that received `received` bytes. `size` is the text for these bytes.
fn line(report: &Report, received: u64, size: &str) -> String {
    let (time, rate) = (seconds(report.elapsed.as_secs_f64()), ByteRate::of(received, report.elapsed));
    let mut line = format!("{size} in {time}, {rate}");
    if report.resumed > 0 {
        line += &format!("; {} were already in the store", Bytes(report.resumed));
    }
    line += &repeated(report);
    let reassigned = counted(report.reassigned, "chunk", "chunks");
    line + &format!("; {reassigned} reassigned, {} received twice", Bytes(report.duplicate_bytes))
}

/// Returns the part of a summary line about the repeated bytes, which is empty if there are none.
fn repeated(report: &Report) -> String {
    match report.repeated {
        0 => String::new(),
        bytes => format!("; {} of zeros and repeated chunks needed no transfer", Bytes(bytes)),
    }
}

/// Returns the lines of a table: a heading, and one line for each peer that delivered bytes, was lost or was banned.
/// Returns no line if there is no such peer.
pub fn peer_lines(report: &Report) -> Vec<String> {
    let is_shown = |peer: &PeerReport| peer.bytes > 0 || peer.verdict != Verdict::Good;
    let shown: Vec<_> = report.peers.iter().filter(|(_, peer)| is_shown(peer)).collect();
    let Some(width) = shown.iter().map(|(id, _)| id.to_string().len()).max() else { return Vec::new() };
    let heading = format!("{:width$}  {:>10}  {:>7}  {:>13}  verdict", "peer", "bytes", "chunks", "rate");
    let line = |(id, peer): (&_, &PeerReport)| {
        let figures = (Bytes(peer.bytes), peer.chunks, ByteRate(peer.rate()));
        let verdict = verdict_text(&peer.verdict);
        format!("{id:width$}  {:>10}  {:>7}  {:>13}  {verdict}", figures.0, figures.1, figures.2, id = format!("{id}"))
    };
    std::iter::once(heading).chain(shown.into_iter().map(line)).collect()
}

/// Formats the verdict on a peer, with the reason if there is one. The text is safe to print on a terminal.
pub fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Good => "good".to_owned(),
        Verdict::Lost(reason) => format!("lost: {}", printable(reason)),
        Verdict::Banned(reason) => format!("banned: {}", printable(reason)),
    }
}

/// Returns the whole result of a fetch as one JSON document.
pub fn json_report(fetched: &Fetched) -> Value {
    let Fetched { resolved, artifacts, report, .. } = fetched;
    let artifacts = artifacts.iter().map(|entry| {
        let mut artifact = json_entry(entry);
        artifact["path"] = json!(fetched.path_of(entry));
        artifact
    });
    json!({
        "name": resolved.name.to_string(),
        "version": resolved.manifest.version,
        "release": resolved.manifest.release,
        "manifest": resolved.manifest_cid.to_string(),
        "resolve_seconds": resolved.elapsed.as_secs_f64(),
        "pointer_in_dht": resolved.pointer_in_dht,
        "answers": resolved.answers.iter().map(json_answer).collect::<Vec<_>>(),
        "artifacts": artifacts.collect::<Vec<_>>(),
        "bytes": report.total,
        "resumed_bytes": report.resumed,
        "repeated_bytes": report.repeated,
        "seconds": report.elapsed.as_secs_f64(),
        "bytes_per_second": ByteRate::of(report.to_fetch(), report.elapsed).0,
        "reassigned_chunks": report.reassigned,
        "duplicate_bytes": report.duplicate_bytes,
        "peers": json_peers(report),
    })
}

/// Returns the figures and the verdict of every peer of a download, as JSON.
pub fn json_peers(report: &Report) -> Value {
    report.peers.iter().map(|(id, peer)| json_peer(&id.to_string(), peer)).collect()
}

/// Returns an artifact of a release as JSON.
pub fn json_entry(entry: &ArtifactEntry) -> Value {
    json!({
        "role": entry.role.as_str(),
        "filename": entry.filename.as_str(),
        "size": entry.size,
        "cid": entry.cid.to_string(),
        "sha256": entry.sha256.to_string(),
    })
}

/// Returns a peer's answer to the request for the release of a name, as JSON: the version of the release, or an error.
pub fn json_answer(answer: &Answer) -> Value {
    match &answer.result {
        Ok(version) => json!({ "peer": answer.peer.to_string(), "version": version }),
        Err(error) => json!({ "peer": answer.peer.to_string(), "error": error.to_string() }),
    }
}

fn json_peer(id: &str, peer: &PeerReport) -> Value {
    let (verdict, reason) = match &peer.verdict {
        Verdict::Good => ("good", None),
        Verdict::Lost(reason) => ("lost", Some(reason)),
        Verdict::Banned(reason) => ("banned", Some(reason)),
    };
    json!({
        "peer": id,
        "bytes": peer.bytes,
        "chunks": peer.chunks,
        "seconds": peer.active.as_secs_f64(),
        "bytes_per_second": peer.rate(),
        "verdict": verdict,
        "reason": reason,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phase_node::PeerId;

    use super::*;

    fn report() -> Report {
        let peer = |verdict| PeerReport { bytes: 4 << 20, chunks: 32, active: Duration::from_secs(2), verdict };
        let mut report = Report { total: 8 << 20, elapsed: Duration::from_secs(4), reassigned: 3, ..Report::default() };
        report.peers.insert(PeerId::random(), peer(Verdict::Good));
        report.peers.insert(PeerId::random(), peer(Verdict::Banned("bad chunk\x1b[2J".to_owned())));
        report
    }

    #[test]
    fn the_summary_counts_fetched_and_resumed_bytes_separately() {
        let report = report();
        assert_eq!(summary_line(&report), "8.0 MiB in 4.00 s, 2.0 MiB/s; 3 chunks reassigned, 0 B received twice");
        let resumed = Report { resumed: 4 << 20, ..report };
        assert!(summary_line(&resumed).starts_with("4.0 MiB in 4.00 s, 1.0 MiB/s; 4.0 MiB were already in the store"));
    }

    #[test]
    fn the_summary_names_zeros_and_repeats_and_does_not_count_them_as_fetched() {
        let sparse = Report { total: 2 << 30, repeated: (2 << 30) - (16 << 20), resumed: 8 << 20, ..report() };
        let line = summary_line(&sparse);
        let expected = "8.0 MiB in 4.00 s, 2.0 MiB/s; 8.0 MiB were already in the store; 2.0 GiB of zeros and repeated \
                        chunks needed no transfer; 3 chunks reassigned";
        assert!(line.starts_with(expected), "{line}");
        let zeros = Report { total: 2 << 30, repeated: 2 << 30, ..report() };
        assert!(summary_line(&zeros).ends_with("; 2.0 GiB of zeros and repeated chunks needed no transfer"));
    }

    #[test]
    fn the_summary_of_an_incomplete_fetch_has_the_received_and_the_wanted_bytes() {
        let report = Report { total: 32 << 20, ..report() };
        assert!(incomplete_line(&report).starts_with("8.0 MiB of 32.0 MiB in 4.00 s, 2.0 MiB/s;"));
    }

    #[test]
    fn a_complete_store_leaves_nothing_to_fetch_and_idle_peers_have_no_line() {
        let mut report = report();
        report.resumed = report.total;
        assert_eq!(summary_line(&report), "nothing to fetch: 8.0 MiB were already in the store");
        for peer in report.peers.values_mut() {
            *peer = PeerReport { bytes: 0, chunks: 0, active: Duration::ZERO, verdict: Verdict::Good };
        }
        assert!(peer_lines(&report).is_empty());
    }

    #[test]
    fn each_peer_that_delivered_has_a_line_and_a_banned_peer_a_reason() {
        let lines = peer_lines(&report());
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().any(|line| line.ends_with("banned: bad chunk\\u{1b}[2J")), "{lines:?}");
        assert!(lines.iter().any(|line| line.ends_with("4.0 MiB       32      2.0 MiB/s  good")), "{lines:?}");
        assert!(peer_lines(&Report::default()).is_empty());
    }
}
