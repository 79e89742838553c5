//! `phase store prune`, `phase store rm` and `phase store gc`.

use std::time::{Duration, Instant};

use phase_cli::{self as cli, Bytes, EXIT_CODES, Fault, PruneArgs, counted};
use phase_core::store::{FileKind, FileStore, Goal, PART_AGE, Removal, Removed, Selector};
use phase_core::{Cid, Failure};
use serde_json::{Value, json};

use super::releases::{cids, find, release_json, release_text};
use crate::options::StoreArgs;
use crate::output::Output;
use crate::view;

pub(super) const PRUNE_EXAMPLES: &str = "\
Examples:
  phase store prune --keep 2 --dry-run --store store     # show what would go
  phase store prune --keep 2 --store store               # the current and the previous release of each name stay
  phase store prune --max-size 20GiB --store store       # the oldest releases go until the rest fits

Current and pinned releases always stay, and so does a release that is newer than the current one, because it is being
fetched. Artifacts that a remaining release needs stay. What no release needs goes too, as with `phase store gc`.";

pub(super) const RM_EXAMPLES: &str = "\
Examples:
  phase store rm stable/x86_64@3 --dry-run --store store
  phase store rm stable/x86_64@3 --store store
  phase store rm stable/x86_64 --store store             # the current release: the name is no longer served

A provider that runs on the store withdraws the release before its files go. Transfers in progress end normally. No
other release becomes current. In the store of a client, the removed version no longer protects against older releases.";

pub(super) const GC_EXAMPLES: &str = "\
Examples:
  phase store gc --dry-run --store store
  phase store gc --store store
  phase store gc --part-age 1d --store store

Files that were stored within the last hour stay, because a publisher stores artifacts before their manifest. Partial
artifacts that a fetch has open stay. For artifacts that belong to no release on purpose, see `phase store pin`.";

/// The interval at which a removal is tried again while a provider withdraws.
const POLL: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    store: StoreArgs,
    /// Show what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a running provider may take to withdraw what is removed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    wait: Duration,
}

#[derive(clap::Args)]
#[command(after_long_help = format!("{PRUNE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Prune {
    #[command(flatten)]
    limits: PruneArgs,
    #[command(flatten)]
    ages: Ages,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
#[command(after_long_help = format!("{RM_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Rm {
    /// A name (its current release), a name with a version, or a manifest CID
    #[arg(value_name = "NAME|NAME@VERSION|CID")]
    target: Selector,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
#[command(after_long_help = format!("{GC_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Gc {
    #[command(flatten)]
    ages: Ages,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Ages {
    /// Remove partial artifacts that were last written this long ago, and damaged files that were set aside. Default:
    /// 7d
    #[arg(long, value_name = "TIME", value_parser = cli::parse_duration, allow_hyphen_values = true)]
    part_age: Option<Duration>,
}

pub(super) fn prune(args: &Prune, output: &Output) -> Result<(), Fault> {
    let Some(limits) = args.limits.limits() else {
        let message = "nothing says what to keep: give --keep N, --max-size SIZE or both";
        return Err(Fault::new(Failure::Usage, message).hint("`phase store gc` removes only what no release needs"));
    };
    let store = args.common.store.open_existing()?;
    let removed = remove(&store, Goal::Prune(limits), args.ages.part_age, &args.common, output)?;
    print(&removed, &args.common, output)?;
    args.limits.check(&removed)?;
    check_withdrawn(&removed, args.common.wait)
}

pub(super) fn gc(args: &Gc, output: &Output) -> Result<(), Fault> {
    let store = args.common.store.open_existing()?;
    let removed = remove(&store, Goal::Orphans, args.ages.part_age, &args.common, output)?;
    print(&removed, &args.common, output)?;
    check_withdrawn(&removed, args.common.wait)
}

pub(super) fn rm(args: &Rm, output: &Output) -> Result<(), Fault> {
    let store = args.common.store.open_existing()?;
    let release = find(&store, &args.target)?;
    if release.is_pinned {
        let hint = format!("unpin it first: phase store unpin {release} --store {}", store.path().display());
        return Err(Fault::new(Failure::Usage, format!("{release} is pinned")).hint(hint));
    }
    if release.is_current && !args.common.dry_run {
        // The ref goes first. A running provider sees that, and withdraws the release.
        store.remove_ref(&release.name, &release.manifest)?;
    }
    let removed = remove(&store, Goal::Release(release.manifest), None, &args.common, output)?;
    print(&removed, &args.common, output)?;
    check_withdrawn(&removed, args.common.wait)?;
    if removed.releases.is_empty() {
        let message = format!("{release} was not removed: it has become current or pinned meanwhile");
        return Err(Fault::new(Failure::Store, message).hint("see `phase store ls`, and try again"));
    }
    Ok(())
}

/// Removes content, and tries again while a running provider withdraws it, for at most the time of `--wait`.
fn remove(
    store: &FileStore,
    goal: Goal,
    part_age: Option<Duration>,
    common: &Common,
    output: &Output,
) -> Result<Removed, Fault> {
    let removal = Removal { part_age: part_age.unwrap_or(PART_AGE), ..Removal::new(goal, cli::now()) };
    if common.dry_run {
        return Ok(store.preview_removal(&removal)?);
    }
    let began = now();
    let mut all = store.remove(&removal)?;
    let mut is_told = false;
    while !all.announced.is_empty() && began.elapsed() < common.wait {
        if !std::mem::replace(&mut is_told, true) {
            output.remark(&format!("waiting until the provider has withdrawn {}", items(&all.announced)));
        }
        std::thread::sleep(POLL);
        let next = store.remove(&removal)?;
        all.releases.extend(next.releases);
        all.files.extend(next.files);
        all.bytes += next.bytes;
        (all.left, all.announced) = (next.left, next.announced);
    }
    Ok(all)
}

fn check_withdrawn(removed: &Removed, wait: Duration) -> Result<(), Fault> {
    if removed.announced.is_empty() {
        return Ok(());
    }
    let wait = cli::duration(wait);
    let content = items(&removed.announced);
    let message = format!("the provider that runs on the store has not withdrawn {content} within {wait}");
    Err(Fault::new(Failure::Store, message).hint("its files stay in the store; try again later, or stop the provider"))
}

/// Names the first CID of a list, and the number of the others.
fn items(announced: &[Cid]) -> String {
    match announced {
        [] => "nothing".to_owned(),
        [cid] => cid.to_string(),
        [cid, rest @ ..] => format!("{cid} and {} more", rest.len()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the wait for a provider has a time limit")]
fn now() -> Instant {
    Instant::now()
}

fn print(removed: &Removed, common: &Common, output: &Output) -> Result<(), Fault> {
    output.result(|| json(removed, common.dry_run), || text(removed, common.dry_run))
}

fn json(removed: &Removed, is_dry_run: bool) -> Value {
    let files = removed.files.iter().map(
        |file| json!({ "file": file.path.display().to_string(), "kind": kind(file.kind), "disk_bytes": file.bytes }),
    );
    json!({
        "dry_run": is_dry_run,
        "releases": removed.releases.iter().map(release_json).collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(),
        "freed_bytes": removed.bytes,
        "left_bytes": removed.left,
        "announced": cids(&removed.announced),
    })
}

fn text(removed: &Removed, is_dry_run: bool) -> String {
    let verb = if is_dry_run { "would remove" } else { "removed" };
    let mut lines: Vec<_> =
        removed.releases.iter().map(|release| format!("{verb}  {}", release_text(release))).collect();
    let shown = if is_dry_run { view::MAX_LISTED } else { 0 };
    for file in removed.files.iter().take(shown) {
        let path = cli::printable(&file.path.display().to_string());
        lines.push(format!("  {:<9} {:>10}  {path}", kind(file.kind), Bytes(file.bytes)));
    }
    if is_dry_run && removed.files.len() > shown {
        let more = counted(removed.files.len() - shown, "more file", "more files");
        lines.push(format!("  …         {more}; --json lists all"));
    }
    let files = counted(removed.files.len(), "file", "files");
    let freed = if is_dry_run { "would free" } else { "freed" };
    lines.push(format!("{verb} {files}, {freed} {}; {} left", Bytes(removed.bytes), Bytes(removed.left)));
    lines.join("\n")
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Manifest => "manifest",
        FileKind::Artifact => "artifact",
        FileKind::Seal => "seal",
        FileKind::Partial => "partial",
        FileKind::Bitmap => "bitmap",
        FileKind::Block => "block",
        FileKind::Temporary => "temporary",
        FileKind::Damaged => "damaged",
        _ => "file",
    }
}
