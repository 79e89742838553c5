//! How far nodes are from each other: a relay in a container's network through which all goes that the container sends. Not
//! every kernel has `netem`; a network device that a process serves, each has.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::error::LabError;

/// The device through which packets get to the relay.
pub(crate) const DEVICE: &str = "phase-relay";
/// The mark of packets that have been through, and the number of the table of routes for those that have not.
pub(crate) const MARK: u32 = 77;
/// By how much packets may be late on average, beside a tenth of what they are to wait, in seconds: else the machine is too
/// busy, and what is measured says nothing of that latency.
const MOST_LATE: f64 = 0.005;

/// A relay that runs. It ends when the container's process does, whatever becomes of this one.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    output: BufReader<ChildStdout>,
    latency: Duration,
}

/// A line that the relay prints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    ready: bool,
    packets: u64,
    lost: u64,
    late: f64,
}

impl Relay {
    /// Starts one in the network of the container with this process, and waits until its device is there. `program` is
    /// `phase-testnet-node`.
    pub(crate) fn start(program: &Path, pid: u32, latency: Duration) -> Result<Self, LabError> {
        let pid = pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "--"]).arg(program).args(["delay", "--device", DEVICE]);
        command.args(["--mark", &MARK.to_string(), "--beside", &pid, "--latency"]);
        command.arg(humantime::format_duration(latency).to_string().replace(' ', ""));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|source| LabError::Missing {
            program: "nsenter".to_owned(),
            source,
            hint: "install util-linux",
        })?;
        let output = child.stdout.take().expect("it is piped");
        let mut relay = Self { child, output: BufReader::new(output), latency };
        if relay.next().is_some_and(|said| said.ready) {
            return Ok(relay);
        }
        let mut said = String::new();
        // What it says is for people; there may be nothing.
        let _ = relay.child.stderr.take().map(|mut errors| errors.read_to_string(&mut said));
        let _ = relay.child.wait();
        let command = format!("{} delay", program.display());
        Err(LabError::Failed { command, output: format!("no latency can be given: {}", said.trim()) })
    }

    fn next(&mut self) -> Option<Said> {
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Once the container's process has ended. `Err` says why the latency was not what it was to be.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let said = self.next();
        // It has ended, with an error or without: what matters it has said.
        let _ = self.child.wait();
        let said = said.ok_or("its relay did not live as long as it did")?;
        judge(&said, self.latency)
    }
}

fn judge(said: &Said, latency: Duration) -> Result<(), String> {
    if said.packets == 0 {
        Err("nothing went through its relay: latency was not put to the test".to_owned())
    } else if said.lost > 0 {
        Err(format!("{} packets had no room in its relay: lower its rate, or the latency", said.lost))
    } else if said.late > MOST_LATE + latency.as_secs_f64() / 10.0 {
        Err(format!("packets left its relay {:.0} ms late: the machine is too busy", said.late * 1e3))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_did_not_delay_as_it_should_is_told_of() {
        let latency = Duration::from_millis(50);
        let fine = Said { packets: 9, lost: 0, late: 0.0099, ..Said::default() };
        assert_eq!(judge(&fine, latency), Ok(()));
        let wrong = [
            Said { packets: 0, ..Said::default() },
            Said { lost: 1, ..fine },
            Said { late: 0.0101, ..Said { packets: 9, ..Said::default() } },
        ];
        for (said, why) in wrong.iter().zip(["nothing", "no room", "too busy"]) {
            assert!(judge(said, latency).is_err_and(|error| error.contains(why)), "{said:?}");
        }
    }
}
