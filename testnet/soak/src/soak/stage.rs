//! The stages of a soak.

/// What everybody is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Load,
    Quiet,
    End,
}
