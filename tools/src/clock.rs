//! The clock for signing. A signature with a wrong time is refused by every client, so a clock that cannot be right is
//! refused before anything is signed.

use phase_cli::{self as cli, Fault};
use phase_core::Failure;
use phase_core::time::TrustedTime;

/// A time before this program was written: 2025-01-01, in seconds since 1970. Machines without a battery for their clock
/// start in 1970.
const EARLIEST: u64 = 1_735_689_600;

/// Returns the current time in seconds since 1970.
///
/// # Errors
/// If the clock is set to a time before this program was written.
pub(crate) fn signing_time() -> Result<u64, Fault> {
    let now = cli::now();
    check(now, "this program was written", EARLIEST)?;
    Ok(now)
}

/// Checks that the clock, which says `now`, is not before a time at which something was done that is done already.
pub(crate) fn check(now: u64, done: &str, at: u64) -> Result<(), Fault> {
    if now >= at {
        return Ok(());
    }
    let (now, at) = (TrustedTime(now), TrustedTime(at));
    let message =
        format!("this machine's clock says {now}, which is before {at}, and {done} later: nothing was signed");
    Err(Fault::new(Failure::Untrusted, message).hint("set the clock of this machine, and run the command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_refused_with_both_times() {
        assert!(check(EARLIEST, "this program was written", EARLIEST).is_ok());
        let text = check(86_400, "the trust root was issued", EARLIEST).unwrap_err().chain();
        assert!(text.contains("1970-01-02T00:00:00Z") && text.contains("2025-01-01T00:00:00Z"), "{text}");
    }
}
