//! `phase store pin` and `phase store unpin`.

use phase_cli::Fault;
use phase_core::Cid;
use phase_core::store::{FileStore, Selector, Store as _};
use serde_json::json;

use super::releases::{find, not_here};
use crate::options::StoreArgs;
use crate::output::Output;

pub(super) const PIN_EXAMPLES: &str = "\
Examples:
  phase store pin stable/x86_64 --store store            # the current release, also when a newer one comes
  phase store pin stable/x86_64@3 --store store

A CID of a manifest or of an artifact can be pinned too. `phase store ls` shows what is pinned.";

pub(super) const UNPIN_EXAMPLES: &str = "\
Examples:
  phase store unpin stable/x86_64@3 --store store

The content stays until it is removed: see `phase store prune` and `phase store gc`.";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A name (its current release), a name with a version, or a CID
    #[arg(value_name = "NAME|NAME@VERSION|CID")]
    target: Selector,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn pin(args: &Args, output: &Output) -> Result<(), Fault> {
    let store = args.store.open_existing()?;
    let cid = match &args.target {
        Selector::Cid(cid) if find(&store, &args.target).is_err() => {
            // An artifact, which may be damaged: it is pinned so that a repair fetches it.
            if store.block(cid).is_ok_and(|block| block.is_none()) {
                return Err(not_here(&store, &args.target));
            }
            *cid
        }
        selector => find(&store, selector)?.manifest,
    };
    store.pin(&cid)?;
    print(args, cid, true, output)
}

pub(super) fn unpin(args: &Args, output: &Output) -> Result<(), Fault> {
    let store = args.store.open_existing()?;
    let cid = pinned(&store, &args.target)?;
    let was_pinned = store.unpin(&cid)?;
    if !was_pinned {
        output.remark(&format!("{} was not pinned", args.target));
    }
    print(args, cid, false, output)
}

/// Returns the CID whose pin is to be removed. Of a name, this is the pinned release, if exactly one is pinned.
fn pinned(store: &FileStore, selector: &Selector) -> Result<Cid, Fault> {
    if let Selector::Cid(cid) = selector {
        return Ok(*cid);
    }
    let releases = store.releases()?;
    let mut pinned = releases.iter().filter(|release| release.is_pinned);
    if let Selector::Name(name) = selector
        && let Some(only) = pinned.find(|release| release.name == *name)
        && pinned.all(|release| release.name != *name)
    {
        return Ok(only.manifest);
    }
    Ok(find(store, selector)?.manifest)
}

fn print(args: &Args, cid: Cid, is_pinned: bool, output: &Output) -> Result<(), Fault> {
    let what = if is_pinned { "pinned" } else { "not pinned" };
    output.result(
        || json!({ "target": args.target.to_string(), "cid": cid.to_string(), "pinned": is_pinned }),
        || format!("{what}: {} ({cid})", args.target),
    )
}
