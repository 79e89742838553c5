//! The child processes that serve and fetch. They report to the parent with answers: each answer is one line of JSON on
//! standard output.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use libp2p::Multiaddr;
use phase_benches::Result;
use phase_benches::measure::{Cpu, Taken, peak_memory};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The result that a fetching process reports to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fetched {
    /// The wall clock time and CPU time of the fetch. The fetch begins on an established connection and ends when the
    /// last byte is written.
    pub(crate) taken: Taken,
    /// The peak resident memory of the fetching process since its start, in bytes.
    pub(crate) peak_memory: u64,
    /// The path of the fetched file.
    pub(crate) file: PathBuf,
    /// The BLAKE3 digest over the digests of all pieces, so that the parent can verify the pieces; `None` for Phase,
    /// which verifies the chunks itself.
    pub(crate) pieces: Option<String>,
    /// The time in seconds in which the name was resolved to a verified manifest; `None` for the bare pipeline. It is
    /// not part of the time of the fetch.
    pub(crate) resolve_seconds: Option<f64>,
    /// The time in seconds from the start of the fetch to the start of the download, for finding peers and fetching the
    /// index; `None` for the bare pipeline.
    pub(crate) prepare_seconds: Option<f64>,
}

/// The result that a serving process reports to the parent before it exits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    /// The CPU time of the serving process since its start.
    pub(crate) cpu: Cpu,
    /// The peak resident memory of the serving process since its start, in bytes.
    pub(crate) peak_memory: u64,
}

/// Prints an answer for the parent. Called in a child process.
pub(crate) fn print_answer(answer: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}

/// Prints the address of this serving process, waits until the parent closes standard input or exits, and prints the
/// result of this process.
pub(crate) async fn serve_until_stdin_closes(address: Multiaddr) -> Result<()> {
    print_answer(&address)?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    print_answer(&Served { cpu: Cpu::so_far()?, peak_memory: peak_memory()? })
}

/// A child process. It is killed when this value is dropped.
pub(crate) struct Process {
    child: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program again as a child process with these arguments.
    pub(crate) fn start(args: &[&OsStr]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            // Remove a variable that would make the child write the TLS keys of every connection to a file.
            .env_remove("SSLKEYLOGFILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Self { child, stdin, stdout })
    }

    /// Waits for the next answer of the child.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(format!("a child process failed: {}", self.child.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends a serving process by closing its standard input, and returns the result that the process reports.
    pub(crate) fn end(mut self) -> Result<Served> {
        self.stdin = None;
        let served = self.answer()?;
        self.child.wait()?;
        Ok(served)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors are ignored, because the child may have exited already and `drop` cannot return an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
