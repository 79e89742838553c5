//! Exponential backoff between failed attempts.

use std::time::Duration;

/// An exponential backoff. Each wait is twice the previous one, up to a maximum. The type uses no clock, so the caller
/// must do the waiting.
///
/// ```
/// use std::time::Duration;
///
/// let mut backoff = phase_node::Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// let waits: Vec<_> = (0..4).map(|_| backoff.next_wait().as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
}

impl Backoff {
    /// Creates a backoff whose first wait is `first`. No wait is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, wait: first }
    }

    /// Returns the current wait without advancing.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the current wait and doubles the next one.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait
    }

    /// Returns whether the current wait is the longest.
    pub fn is_longest(&self) -> bool {
        self.wait >= self.longest
    }

    /// Resets the backoff to the first wait. To be called when an attempt has succeeded.
    pub fn reset(&mut self) {
        self.wait = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(9));
        let waits: Vec<_> = (0..5).map(|_| (backoff.is_longest(), backoff.next_wait().as_secs())).collect();
        assert_eq!(waits, [(false, 2), (false, 4), (false, 8), (true, 9), (true, 9)]);
        backoff.reset();
        assert_eq!(backoff, Backoff::new(Duration::from_secs(2), Duration::from_secs(9)));
        assert_eq!((backoff.wait(), backoff.wait()), (Duration::from_secs(2), Duration::from_secs(2)));
    }
}
