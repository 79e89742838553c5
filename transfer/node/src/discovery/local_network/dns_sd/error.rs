//! The error type of DNS-SD.

/// The maximum number of adverts of a node. Each advert costs every host on the local network a few packets.
pub const MAX_ADVERTS: usize = 64;

/// An error from starting DNS-SD, or from a command to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsSdError {
    /// mdns-sd could not open a socket on any interface.
    #[error("cannot use mDNS: no network interface is up, or another program uses UDP port 5353 and does not share it")]
    Socket,
    /// The caller passed more than [`MAX_ADVERTS`] adverts.
    #[error("cannot advertise {given} names on the local network: at most {MAX_ADVERTS} are permitted")]
    TooMany {
        /// The number of adverts that the caller passed.
        given: usize,
    },
    /// mdns-sd did not answer in time, probably because it is busy with packets from the local network.
    #[error("DNS-SD does not answer: the local network may be flooded with mDNS packets")]
    Busy,
    /// mdns-sd has ended, because it failed or because this node stopped it when it held too many records.
    #[error("DNS-SD has ended")]
    Ended,
    /// mdns-sd returned another error, for example because the system has no free thread or file descriptor.
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
