//! The stages of a soak.

/// The stage of a soak. It decides whether the actors work, pause or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// All actors work.
    Load,
    /// All actors pause, so that resources can be measured at a [quiet point](super::QuietPoint).
    Quiet,
    /// All actors stop, because the soak ends.
    End,
}
