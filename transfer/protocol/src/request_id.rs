//! The name of a request on a stream.

use serde::{Deserialize, Serialize};

/// Names a request on its stream. The requester chooses it and uses it once per stream.
///
/// The [scheduler](crate::scheduler) takes even numbers for requests for chunks, a link odd numbers for everything else, so
/// that one id names a request in the scheduler, on the link and on the wire. Both stay small, as CBOR writes small numbers
/// in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

impl RequestId {
    /// The first id of a scheduler.
    pub const FIRST_SCHEDULED: Self = Self(0);
    /// The first id of a link.
    pub const FIRST_OF_LINK: Self = Self(1);

    /// The id after this one in the same series. After 2^31 ids the series begins again.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_series_never_meet() {
        for (first, parity) in [(RequestId::FIRST_SCHEDULED, 0), (RequestId::FIRST_OF_LINK, 1)] {
            let last = RequestId(u32::MAX - 1 + parity);
            assert_eq!(last.next(), first);
            assert_eq!(first.next().0 % 2, parity);
        }
    }
}
