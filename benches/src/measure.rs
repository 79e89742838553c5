//! What a measurement takes down: wall clock, CPU time and peak memory of this process, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

/// The unit of times in `/proc/self/stat`: a constant of the kernel's interface, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the clock.
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time in seconds, of all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// In the program.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

impl Cpu {
    /// What this process has used so far, to 10 ms.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn so_far() -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // The name of the program, in parentheses, may contain anything; fields 14 and 15 follow it.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no program name")?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
        let mut next = || times.next().and_then(|time| time.ok()).ok_or("/proc/self/stat has no CPU times");
        Ok(Self { user: next()? / TICKS_PER_SECOND, system: next()? / TICKS_PER_SECOND })
    }

    /// Both together.
    pub fn total(&self) -> f64 {
        self.user + self.system
    }

    fn since(&self, earlier: &Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// What something took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Wall clock seconds.
    pub seconds: f64,
    /// CPU time of this process meanwhile.
    pub cpu: Cpu,
}

/// A measurement under way.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    at: Instant,
    cpu: Cpu,
}

impl Stopwatch {
    /// Begins to measure.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn start() -> Result<Self> {
        let cpu = Cpu::so_far()?;
        Ok(Self { at: now(), cpu })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        now() - self.at
    }

    /// What was taken since the start.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn stop(&self) -> Result<Taken> {
        let seconds = self.elapsed().as_secs_f64();
        Ok(Taken { seconds, cpu: Cpu::so_far()?.since(&self.cpu) })
    }
}

/// The most memory this process has had resident, in bytes, since its start or [`reset_peak_memory`].
///
/// # Errors
/// There is no `/proc`.
pub fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("/proc/self/status has no VmHWM")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// Forgets the peak: from now on it is counted anew.
///
/// # Errors
/// There is no `/proc`.
pub fn reset_peak_memory() -> Result<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}
