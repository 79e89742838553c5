//! Child processes of a test. Every wait for a child process has a timeout, and the processes are killed when the test
//! ends.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::sandbox::Run;

/// The timeout for one event. It is long enough for a slow machine.
const LIMIT: Duration = Duration::from_secs(180);
/// The interval at which [`until`] checks its condition.
const POLL: Duration = Duration::from_millis(1);
/// The capacity of the queue of lines that the process has printed and the test has not read.
const LINES: usize = 4096;

/// A process that was started by a test.
pub(crate) struct Process {
    child: Child,
    stdout: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// The command line of the process, for messages.
    what: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let what = format!("{:?} {:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let (sender, stdout) = sync_channel(LINES);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut pipe = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, stdout, stderr: Some(stderr), what }
    }

    /// Waits for a line of standard output for which `wanted` returns a value, and returns that value.
    #[track_caller]
    pub(crate) fn line<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = now() + LIMIT;
        loop {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return found,
                    None => continue,
                },
                Err(error) => {
                    self.signal(Signal::KILL);
                    let stderr = self.wait().stderr;
                    panic!("{} did not print the expected line: {error}: {stderr}", self.what);
                }
            }
        }
    }

    /// Returns the command line of the process.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a condition holds. Panics if the process ends before.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let mut holds = false;
        until(what, || {
            holds = condition();
            holds || !self.is_running()
        });
        if !holds {
            let end = self.wait();
            panic!("{} ended before {what}: {}{}", self.what, end.stdout, end.stderr);
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        // The system may reuse the process id of a process that has ended, so only a running process gets the signal.
        if self.is_running() {
            kill_process(Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// Kills the process with SIGKILL, and returns its output.
    pub(crate) fn kill(mut self) -> Run {
        self.signal(Signal::KILL);
        self.end()
    }

    /// Stops the process with SIGTERM, and waits for its end.
    pub(crate) fn stop(mut self) -> Run {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn end(mut self) -> Run {
        self.wait()
    }

    #[track_caller]
    fn wait(&mut self) -> Run {
        drop(self.child.stdin.take());
        let mut status: Option<ExitStatus> = None;
        let mut stdout = String::new();
        until(&format!("the end of {}", self.what), || {
            // Read standard output meanwhile, because a process whose pipe is full cannot end.
            stdout.extend(self.stdout.try_iter().flat_map(|line| [line, "\n".to_owned()]));
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        stdout.extend(self.stdout.iter().flat_map(|line| [line, "\n".to_owned()]));
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Run { code: status.and_then(|status| status.code()).unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks a condition repeatedly until it holds. Panics after [`LIMIT`].
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + LIMIT;
    while !condition() {
        assert!(now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(POLL);
    }
}

/// Returns a command that runs another program, which is built into the same folder as `phase`.
pub(crate) fn binary(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_phase")).with_file_name(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    Command::new(path)
}

#[expect(clippy::disallowed_methods, reason = "a test that hangs must end")]
fn now() -> Instant {
    Instant::now()
}
