//! `phase store`: shows, verifies, repairs and empties a store.

mod list;
mod pins;
mod releases;
mod remove;
mod repair;
mod verify;

use clap::Subcommand;
use phase_cli::Fault;

use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the releases in a store, their artifacts, and the disk space that they use
    #[command(after_help = list::EXAMPLES)]
    Ls(list::Args),
    /// Hash every file of a store, and show what is damaged, missing or unreadable
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
    /// Verify a store, set damaged files aside, and fetch them again from the network
    #[command(after_help = repair::EXAMPLES)]
    Repair(repair::Args),
    /// Remove old releases, and what no release needs
    #[command(after_help = remove::PRUNE_EXAMPLES)]
    Prune(remove::Prune),
    /// Keep a release or an artifact, however old it is
    #[command(after_help = pins::PIN_EXAMPLES)]
    Pin(pins::Args),
    /// No longer keep a release or an artifact that was pinned
    #[command(after_help = pins::UNPIN_EXAMPLES)]
    Unpin(pins::Args),
    /// Remove one release, and what nothing else needs
    #[command(after_help = remove::RM_EXAMPLES)]
    Rm(remove::Rm),
    /// Remove what no release and no pin needs: orphans, abandoned partial artifacts, old damaged files
    #[command(after_help = remove::GC_EXAMPLES)]
    Gc(remove::Gc),
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  phase store ls --store store
  phase store verify --store store
  phase store prune --keep 2 --dry-run --store store
  phase store rm stable/x86_64@3 --store store

A store has releases. The release to which a name leads is current: it is announced and served. Earlier releases stay
until they are removed. Releases share equal artifacts, and an artifact stays as long as any release needs it.
A provider may run on the store meanwhile: it withdraws what is removed before the files go.";

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fault> {
    match command {
        Command::Ls(args) => list::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Repair(args) => repair::run(&args, output),
        Command::Prune(args) => remove::prune(&args, output),
        Command::Pin(args) => pins::pin(&args, output),
        Command::Unpin(args) => pins::unpin(&args, output),
        Command::Rm(args) => remove::rm(&args, output),
        Command::Gc(args) => remove::gc(&args, output),
    }
}
