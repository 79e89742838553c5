//! The command-line options that say which releases stay in a store.

use clap::Args;
use phase_core::Failure;
use phase_core::store::{FileStore, Goal, Prune, Removal, Removed};
use phase_units::{Bytes, Size, counted, parse_size};

use crate::fault::Fault;
use crate::process::now;

/// The heading of these options in `--help`.
const STORE: &str = "Store options";

/// The options that say which releases stay in a store.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PruneArgs {
    /// Keep this many releases of each name: the current one, and the newest complete ones before it. Default: keep all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true,
        help_heading = STORE)]
    pub keep: Option<u32>,
    /// Remove the oldest releases until the store uses at most this much disk space, for instance 20GiB. Default: no
    /// limit. Current and pinned releases always stay
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = STORE)]
    pub max_size: Option<Size>,
}

impl PruneArgs {
    /// Returns which releases stay, or `None` if all stay.
    pub fn limits(&self) -> Option<Prune> {
        let limits = Prune { keep: self.keep, max_bytes: self.max_size.map(|size| size.0) };
        (limits != Prune::default()).then_some(limits)
    }

    /// Removes the releases that do not stay, with what nothing else needs. Returns `None` if all releases stay.
    ///
    /// # Errors
    /// If the store cannot be used, or if the releases that have to stay are larger than `--max-size`.
    pub fn prune(&self, store: &FileStore) -> Result<Option<Removed>, Fault> {
        let Some(limits) = self.limits() else { return Ok(None) };
        let removed = store.remove(&Removal::new(Goal::Prune(limits), now()))?;
        self.check(&removed)?;
        Ok(Some(removed))
    }

    /// Checks that the store is not larger than `--max-size` after a removal.
    ///
    /// # Errors
    /// If it is larger, with the reason.
    pub fn check(&self, removed: &Removed) -> Result<(), Fault> {
        let Some(max) = self.max_size.filter(|max| removed.left > max.0) else { return Ok(()) };
        let message = format!("the store still uses {}, more than {}", Bytes(removed.left), Bytes(max.0));
        let fault = Fault::new(Failure::Store, message);
        Err(match removed.announced.len() {
            0 => fault.hint("the rest is current or pinned releases, what is being fetched, and files younger than an hour that no release needs yet: see `phase store ls`"),
            more => fault.hint(format!(
                "the running provider still announces {}; try again when it has withdrawn them",
                counted(more, "artifact or manifest", "artifacts or manifests")
            )),
        })
    }
}
