//! Why DNS-SD does not work.

/// Names that a node advertises at most. Each is a few packets for everybody on the local network.
pub const MAX_ADVERTS: usize = 64;

/// Why DNS-SD does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsSdError {
    /// No address of any interface could be joined.
    #[error("no mDNS: UDP port 5353 is held by a program that does not share it, or no network interface is up")]
    Socket,
    /// More adverts than are permitted.
    #[error("{given} names to advertise in the local network: at most {MAX_ADVERTS} are")]
    TooMany {
        /// How many.
        given: usize,
    },
    /// mdns-sd does not get to answer: somebody floods the local network.
    #[error("no time for DNS-SD commands: is the local network flooded with mDNS packets?")]
    Busy,
    /// mdns-sd has ended: it failed, or it held too much.
    #[error("DNS-SD has ended")]
    Ended,
    /// The system refuses a thread or descriptor, or a record has a form that mdns-sd does not take.
    #[error("cannot use mDNS")]
    Mdns(#[source] mdns_sd::Error),
}

impl From<mdns_sd::Error> for DnsSdError {
    fn from(error: mdns_sd::Error) -> Self {
        match error {
            mdns_sd::Error::Again => Self::Busy,
            mdns_sd::Error::DaemonShutdown => Self::Ended,
            other => Self::Mdns(other),
        }
    }
}
