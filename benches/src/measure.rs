//! Measures wall clock time, CPU time and peak memory of this process, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

/// The number of ticks per second in the CPU times of `/proc/self/stat`. It is a constant of the kernel's interface and
/// does not depend on the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The CPU time of all threads of this process, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The CPU time in user mode.
    pub user: f64,
    /// The CPU time in kernel mode.
    pub system: f64,
}

impl Cpu {
    /// Returns the CPU time of this process so far, with a resolution of 10 ms.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub fn so_far() -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // Fields 14 and 15 are the CPU times. Parsing starts after the program's name, which is in parentheses and may
        // contain any character.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no program name")?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
        let mut next = || times.next().and_then(|time| time.ok()).ok_or("/proc/self/stat has no CPU times");
        Ok(Self { user: next()? / TICKS_PER_SECOND, system: next()? / TICKS_PER_SECOND })
    }

    /// Returns the sum of user and system time.
    pub fn total(&self) -> f64 {
        self.user + self.system
    }

    fn since(&self, earlier: &Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// The wall clock time and CPU time that a measured piece of work took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// The wall clock time in seconds.
    pub seconds: f64,
    /// The CPU time that this process used during the measured work.
    pub cpu: Cpu,
}

/// A running measurement of wall clock time and CPU time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    at: Instant,
    cpu: Cpu,
}

impl Stopwatch {
    /// Starts a measurement.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub fn start() -> Result<Self> {
        let cpu = Cpu::so_far()?;
        Ok(Self { at: now(), cpu })
    }

    /// Returns the wall clock time since the start of the measurement.
    pub fn elapsed(&self) -> Duration {
        now() - self.at
    }

    /// Returns the wall clock time and CPU time since the start of the measurement.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub fn stop(&self) -> Result<Taken> {
        let seconds = self.elapsed().as_secs_f64();
        Ok(Taken { seconds, cpu: Cpu::so_far()?.since(&self.cpu) })
    }
}

/// Returns the peak resident memory of this process in bytes, since its start or the last [`reset_peak_memory`].
///
/// # Errors
/// If there is no `/proc`.
pub fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("/proc/self/status has no VmHWM")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// Resets the peak resident memory of this process to its current resident memory.
///
/// # Errors
/// If there is no `/proc`, or the kernel cannot reset the peak memory.
pub fn reset_peak_memory() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}
