//! How long to wait between attempts that fail.

use std::time::Duration;

/// Waits that double from the first to the longest. Knows no clock: whoever waits does so by itself.
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
    /// Begins with `first`; no wait is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, wait: first }
    }

    /// The present wait. It stays the same until [`next_wait`](Self::next_wait) takes it.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The present wait; the one after it is twice as long.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait
    }

    /// Whether the waits grow no more.
    pub fn is_longest(&self) -> bool {
        self.wait >= self.longest
    }

    /// An attempt has succeeded: begins anew.
    pub fn reset(&mut self) {
        self.wait = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_until_they_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(9));
        let waits: Vec<_> = (0..5).map(|_| (backoff.is_longest(), backoff.next_wait().as_secs())).collect();
        assert_eq!(waits, [(false, 2), (false, 4), (false, 8), (true, 9), (true, 9)]);
        backoff.reset();
        assert_eq!(backoff, Backoff::new(Duration::from_secs(2), Duration::from_secs(9)));
        assert_eq!((backoff.wait(), backoff.wait()), (Duration::from_secs(2), Duration::from_secs(2)));
    }
}
