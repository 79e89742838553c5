//! Adds latency between nodes. A relay is a process in the network namespace of a container. It delays every packet
//! that the container sends.
//!
//! The relay uses its own network device (TUN), because every kernel has TUN devices but not every kernel has `netem`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::error::LabError;

/// The name of the TUN device through which packets reach the relay.
pub(crate) const DEVICE: &str = "phase-relay";
/// The firewall mark of packets that have passed the relay. A routing table with the same number sends packets without
/// the mark to the relay.
pub(crate) const MARK: u32 = 77;
/// The fixed part of the limit on [`RelayReport::late`], in seconds. A tenth of the latency is added to it. If packets
/// are later than that, the machine is too busy to test the configured latency.
const MAX_LATE: f64 = 0.005;

/// A running relay process. It exits after the container's process. It does not wait for the lab, because the lab may
/// be killed.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    output: BufReader<ChildStdout>,
    latency: Duration,
}

/// A line of JSON that the relay prints. The first line says that the relay is ready. The last line contains its
/// counters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RelayReport {
    ready: bool,
    packets: u64,
    /// The number of packets that were dropped because the relay's queue was full.
    lost: u64,
    /// The mean time by which packets were late, in seconds: the delay of a packet minus the configured latency.
    late: f64,
}

impl Relay {
    /// Starts a relay in the network namespace of the process `pid` of a container, and waits until the relay's device
    /// exists. `program` is the path of `phase-testnet-node`.
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
        if relay.next().is_some_and(|report| report.ready) {
            return Ok(relay);
        }
        let mut errors = String::new();
        // The relay's standard error is only used in the error message, so a read error does not matter.
        let _ = relay.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut errors));
        let _ = relay.child.wait();
        let command = format!("{} delay", program.display());
        Err(LabError::Failed { command, output: format!("cannot delay packets: {}", errors.trim()) })
    }

    fn next(&mut self) -> Option<RelayReport> {
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Waits until the relay exits and checks its counters. The container's process must have ended. Returns an error
    /// text if packets were not delayed as configured.
    pub(crate) fn end(mut self) -> Result<(), String> {
        let report = self.next();
        // The exit status does not matter, because the relay has printed its counters.
        let _ = self.child.wait();
        let report = report.ok_or("its relay ended before the node did")?;
        check_report(&report, self.latency)
    }
}

fn check_report(report: &RelayReport, latency: Duration) -> Result<(), String> {
    if report.packets == 0 {
        Err("no packet went through its relay, so the latency was not tested".to_owned())
    } else if report.lost > 0 {
        let packets = if report.lost == 1 { "packet" } else { "packets" };
        Err(format!("its relay dropped {} {packets}: lower the node's rate, or the latency", report.lost))
    } else if report.late > MAX_LATE + latency.as_secs_f64() / 10.0 {
        Err(format!(
            "packets left its relay {:.0} ms late on average, because the machine is too busy",
            report.late * 1e3
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_did_not_delay_as_configured_is_reported() {
        let latency = Duration::from_millis(50);
        let fine = RelayReport { packets: 9, lost: 0, late: 0.0099, ..RelayReport::default() };
        assert_eq!(check_report(&fine, latency), Ok(()));
        let wrong = [
            RelayReport { packets: 0, ..RelayReport::default() },
            RelayReport { lost: 1, ..fine },
            RelayReport { late: 0.0101, ..RelayReport { packets: 9, ..RelayReport::default() } },
        ];
        for (report, why) in wrong.iter().zip(["no packet", "dropped 1 packet:", "too busy"]) {
            assert!(check_report(report, latency).is_err_and(|error| error.contains(why)), "{report:?}");
        }
    }
}
