//! The processes of a pair and how the parent talks to them: one JSON line on standard output per answer.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use libp2p::Multiaddr;
use phase_benches::Result;
use phase_benches::measure::{Cpu, Taken, peak_memory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a fetching process reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fetched {
    /// From the start of the fetch, on an established connection, to the last byte in place.
    pub(crate) taken: Taken,
    /// The most memory it had resident, since it was started.
    pub(crate) peak_memory: u64,
    /// The result.
    pub(crate) file: PathBuf,
    /// The digest over the digests of all pieces, where the pieces have no other check.
    pub(crate) pieces: Option<String>,
    /// The time from the name to the verified manifest; before the fetch, and not part of it.
    pub(crate) resolve_seconds: Option<f64>,
    /// The part of the fetch before its download began: finding peers, the index.
    pub(crate) prepare_seconds: Option<f64>,
}

/// What a serving process reports in the end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    /// CPU time since it was started.
    pub(crate) cpu: Cpu,
    /// The most memory it had resident.
    pub(crate) peak_memory: u64,
}

/// In a child: prints an answer for the parent.
pub(crate) fn tell(answer: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}

/// In a serving process: tells its address, waits until the parent closes standard input (or is gone), and reports.
pub(crate) async fn serve_until_told(address: Multiaddr) -> Result<()> {
    tell(&address)?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    tell(&Served { cpu: Cpu::so_far()?, peak_memory: peak_memory()? })
}

/// A child process. Killed when dropped.
pub(crate) struct Process {
    child: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program again with other arguments.
    pub(crate) fn start(args: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            // Would write the session keys of every connection, where set.
            .env_remove("SSLKEYLOGFILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Self { child, stdin, stdout })
    }

    /// Waits for its next answer.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("a child process failed: {}", self.child.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Tells a serving process to end; returns what it reports.
    pub(crate) fn end(mut self) -> Result<Served> {
        self.stdin = None;
        let served = self.answer()?;
        self.child.wait()?;
        Ok(served)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
