//! The limits and times of a scheduler.

use std::time::Duration;

/// The limits and times of a scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// The limit on the bytes that are inflight from all peers together. Default 64 MiB. The `small` RAM profile uses 8
    /// MiB.
    pub max_inflight: u64,
    /// The initial window of a peer, in bytes. The window is the limit on the bytes inflight from the peer. Default 128
    /// KiB, which is one chunk of average length.
    pub first_window: u64,
    /// The minimum of a peer's window, in bytes. Default 128 KiB, which is one chunk of average length.
    pub min_window: u64,
    /// The maximum of a peer's window, in bytes. Default 16 MiB.
    pub max_window: u64,
    /// The limit on the bytes that one request asks for. A request for a single chunk may ask for more. Default 1 MiB.
    pub max_request: u64,
    /// The minimum of a peer's horizon, a time that limits the window of the peer. The window is at most twice the
    /// bytes that the peer delivers within its horizon. The horizon is twice the shortest response time of the peer,
    /// but at least this value and at most `max_horizon`. Default 250 ms.
    pub horizon: Duration,
    /// The maximum of a peer's horizon (see `horizon`). Default 2 s.
    pub max_horizon: Duration,
    /// The timeout of a peer that has not delivered a chunk yet. A peer that sends no bytes for its timeout has
    /// stalled. Default 5 s.
    pub first_timeout: Duration,
    /// The minimum of a peer's timeout, which depends on the response times of the peer. Default 2 s.
    pub min_timeout: Duration,
    /// The maximum of a peer's timeout, which depends on the response times of the peer. Default 15 s.
    pub max_timeout: Duration,
    /// The order window: how far ahead of the first chunk of an artifact that is not verified chunks are requested, in
    /// bytes from the end of that chunk. A consumer that reads the artifact in order has to keep at most this many bytes
    /// and one chunk. With an ordered policy such as [`Sequential`](crate::scheduler::Sequential), an artifact is
    /// requested only when the artifacts before it are complete. A window that is smaller than what the peers deliver in
    /// their response times makes the download slower. Default: `None`, which is no limit.
    pub max_ahead: Option<u64>,
    /// The maximum number of peers that are used at a time. Default 128. Beyond this limit, a new peer replaces the
    /// peer with the most penalty points, or is dropped if no peer has more points than the new peer.
    pub max_peers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_inflight: 64 << 20,
            first_window: 128 << 10,
            min_window: 128 << 10,
            max_window: 16 << 20,
            max_request: 1 << 20,
            horizon: Duration::from_millis(250),
            max_horizon: Duration::from_secs(2),
            first_timeout: Duration::from_secs(5),
            min_timeout: Duration::from_secs(2),
            max_timeout: Duration::from_secs(15),
            max_ahead: None,
            max_peers: 128,
        }
    }
}
