//! `phase-testnet down`, and the process that cleans up after a run.

use std::io::stdin;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use phase_lab::{reap, take_down};

use super::{Failure, HELD, end};

/// Remove what `up` has made, and whatever is left of runs whose process is gone.
///
/// Containers, networks, images and folders: those with the testnet's label, and nothing else. Runs that go on stay.
#[derive(Args)]
pub(crate) struct Down {}

impl Down {
    pub(crate) fn run(&self) -> ExitCode {
        end(self.take_down())
    }

    fn take_down(&self) -> Result<u8, Failure> {
        let (removed, busy) = take_down().map_err(Failure::of)?;
        if removed.is_empty() {
            println!("there is nothing to remove");
        }
        removed.iter().for_each(|id| println!("removed {id}"));
        busy.iter().for_each(|id| println!("{id} belongs to a run that goes on: stop that with Ctrl-C"));
        Ok(HELD)
    }
}

/// Wait for the end of standard input, then remove everything of a run.
#[derive(Args)]
pub(crate) struct Reap {
    id: String,
    folder: PathBuf,
}

impl Reap {
    pub(crate) fn run(&self) -> ExitCode {
        end(reap(&self.id, &self.folder, &mut stdin()).map(|()| HELD).map_err(Failure::of))
    }
}
