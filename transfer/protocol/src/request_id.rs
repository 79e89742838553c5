//! The id of a request on a stream.

use serde::{Deserialize, Serialize};

/// The id of a request on its stream. The client chooses the id, and must not use it again before the request has
/// ended.
///
/// The [scheduler](crate::scheduler) gives even ids to requests for chunks. The link, which is the transfer stream to
/// one peer, gives odd ids to all other requests. So the two never choose the same id, and a request has the same id in
/// the scheduler and on the stream. Even and odd ids both count up from small numbers, because CBOR encodes small
/// numbers in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

impl RequestId {
    /// The first id that a scheduler gives to a request. A scheduler gives only even ids.
    pub const FIRST_SCHEDULED: Self = Self(0);
    /// The first id that a link (the transfer stream to one peer) gives to a request. A link gives only odd ids.
    pub const FIRST_OF_LINK: Self = Self(1);

    /// Returns the id of the next request, which is even after an even id and odd after an odd id. The ids wrap around
    /// after 2^31 requests.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_even_or_odd_when_they_wrap_around() {
        for (first, parity) in [(RequestId::FIRST_SCHEDULED, 0), (RequestId::FIRST_OF_LINK, 1)] {
            let last = RequestId(u32::MAX - 1 + parity);
            assert_eq!(last.next(), first);
            assert_eq!(first.next().0 % 2, parity);
        }
    }
}
