//! Observes the nodes of a run from outside: reads the lines that they print, and measures the resources that they use.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use phase_report::lab::record::Usage;
use serde::Deserialize;

/// The maximum length of a line, in bytes. A longer line is skipped. For comparison, the result line of a client that
/// knows a hundred peers has about ten thousand bytes.
const MAX_LINE: u64 = 1 << 20;
/// The number of clock ticks per second in the CPU times of `/proc`. All Linux systems use this value.
const TICKS: f64 = 100.0;
const PAGE: u64 = 4096;

/// A line of JSON that a node printed, with a field for each key that the lab uses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) event: String,
    /// The time of the event, in Unix seconds.
    pub(crate) time: f64,
    pub(crate) peer_id: Option<String>,
    pub(crate) announced: Option<u64>,
    pub(crate) listening: Option<String>,
    /// The number of harmful answers that the node has given so far. Only hostile nodes print it.
    pub(crate) deeds: Option<u64>,
    pub(crate) verified: Option<u64>,
    pub(crate) seconds: Option<f64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) duplicate_bytes: u64,
    pub(crate) reassigned_chunks: u64,
    pub(crate) peers: Peers,
}

/// The value of the key `peers` in a line: the number of peers in a progress event, the list of peers in a result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Peers {
    Count(u64),
    Each(Vec<Peer>),
}

impl Default for Peers {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

/// A peer in the result line of a client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Peer {
    pub(crate) peer: String,
    pub(crate) bytes: u64,
    pub(crate) verdict: String,
}

/// Reads the lines that another process appends to a file.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// The beginning of a line whose end has not been written yet.
    rest: Vec<u8>,
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, reader: None, rest: Vec::new() }
    }

    /// Returns the lines that were appended since the last call. Returns no lines if the file does not exist yet. Skips
    /// lines that are not a JSON object.
    pub(crate) fn lines(&mut self) -> io::Result<Vec<Line>> {
        if self.reader.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.reader = Some(BufReader::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        loop {
            let room = MAX_LINE - self.rest.len() as u64;
            io::Read::take(&mut *reader, room).read_until(b'\n', &mut self.rest)?;
            let is_whole = self.rest.last() == Some(&b'\n');
            if !is_whole && (self.rest.len() as u64) < MAX_LINE {
                // The end of this line has not been written yet, so the next call continues the line.
                return Ok(lines);
            }
            // A line longer than [`MAX_LINE`] is read in parts. No part is a JSON object, so all parts are skipped.
            lines.extend(serde_json::from_slice(&self.rest));
            self.rest.clear();
        }
    }
}

/// Returns the last three lines that a node wrote to standard error, separated by semicolons.
pub(crate) fn last_errors(output: &Path) -> String {
    let mut path = output.to_owned().into_os_string();
    path.push(".err");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Returns the resources that a process has used so far; `None` if the process has exited. `at` is in seconds since the
/// start of the run.
pub(crate) fn usage(pid: u32, at: f64) -> Option<Usage> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let stat = read("stat")?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Fields 14 and 15 are the clock ticks in user mode and in kernel mode. Field 24 is the number of resident pages.
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    let (received, sent) = traffic(&read("net/dev")?)?;
    Some(Usage { at, cpu: ticks / TICKS, memory: pages * PAGE, sent, received })
}

/// Returns the numbers of bytes that eth0 has received and sent, from the text of `/proc/PID/net/dev`.
fn traffic(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.first()?.parse().ok()?, fields.get(8)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_read_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut tail = Tail::new(path.clone());
        assert!(tail.lines().unwrap().is_empty(), "there is no file yet");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"event\":\"started\",\"time\":1.5,\"peer_id\":\"x\"}\nwhat\n{\"event\":\"prog").unwrap();
        let lines = tail.lines().unwrap();
        assert_eq!((lines.len(), lines[0].peer_id.as_deref()), (1, Some("x")));
        file.write_all(b"ress\",\"verified\":7,\"peers\":3}\n").unwrap();
        let lines = tail.lines().unwrap();
        assert_eq!((lines[0].event.as_str(), lines[0].verified), ("progress", Some(7)));
        file.write_all(
            b"{\"event\":\"fetched\",\"peers\":[{\"peer\":\"y\",\"bytes\":4,\"verdict\":\"good\",\"chunks\":1}]}\n",
        )
        .unwrap();
        let lines = tail.lines().unwrap();
        assert!(matches!(&lines[0].peers, Peers::Each(peers) if peers[0].bytes == 4));
        assert!(tail.lines().unwrap().is_empty());
    }

    #[test]
    fn memory_for_an_endless_line_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, vec![b'x'; 3 * MAX_LINE as usize]).unwrap();
        let mut tail = Tail::new(path.clone());
        assert!(tail.lines().unwrap().is_empty() && tail.rest.len() as u64 <= MAX_LINE);
        File::options().append(true).open(&path).unwrap().write_all(b"\n{\"event\":\"started\"}\n").unwrap();
        assert_eq!(tail.lines().unwrap().len(), 1);
    }

    #[test]
    fn the_usage_of_this_process_is_read_from_proc() {
        let usage = usage(std::process::id(), 0.0);
        // `usage` is `None` on a machine without a network device eth0.
        assert!(usage.is_none_or(|usage| usage.memory > 1 << 20 && usage.cpu < 1e6));
        let text = "Inter-|\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9\n  eth0:  100 2 0 0 0 0 0 0  2000 7 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), Some((100, 2000)));
    }
}
