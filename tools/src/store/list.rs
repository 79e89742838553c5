//! `phase store ls`.

use phase_cli::{Bytes, Fault, counted, printable};
use phase_core::store::{ArtifactState, FileStore, Inventory, ReleaseUsage, Selector, StoredArtifact};
use serde_json::{Value, json};

use super::releases::{find, not_here, release_json, release_text};
use crate::options::StoreArgs;
use crate::output::Output;
use crate::view;

pub(super) const EXAMPLES: &str = "\
Examples:
  phase store ls --store store
  phase store ls stable/x86_64 --store store             # with its artifacts
  phase store ls stable/x86_64@3 --store store --json

Nothing is hashed: `phase store verify` finds damage.";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show the artifacts of this release: a name (its current release), a name with a version, or a manifest CID.
    /// Default: show all releases
    #[arg(value_name = "NAME|NAME@VERSION|CID")]
    target: Option<Selector>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let store = args.store.open_existing()?;
    match &args.target {
        Some(selector) => one(&store, selector, output),
        None => all(&store, output),
    }
}

fn all(store: &FileStore, output: &Output) -> Result<(), Fault> {
    let inventory = store.inventory()?;
    output.result(|| json(&inventory), || text(&inventory))?;
    match inventory.problems.into_iter().next() {
        Some(problem) => Err(Fault::from(problem).hint("`phase store verify` shows all damage")),
        None => Ok(()),
    }
}

fn one(store: &FileStore, selector: &Selector, output: &Output) -> Result<(), Fault> {
    let release = find(store, selector)?;
    let manifest = store.manifest(&release.manifest)?.ok_or_else(|| not_here(store, selector))?;
    let artifacts = store.artifacts_of(&manifest)?;
    output.result(
        || {
            let mut json = release_json(&release);
            json["artifacts"] = artifacts.iter().map(artifact_json).collect();
            json
        },
        || {
            let mut lines = vec![
                format!("release    {}{}", release_text(&release), marks(release.is_current, release.is_pinned)),
                format!("manifest   {}", release.manifest),
            ];
            lines.extend(artifacts.iter().take(view::MAX_LISTED).map(artifact_text));
            if artifacts.len() > view::MAX_LISTED {
                let more = counted(artifacts.len() - view::MAX_LISTED, "more artifact", "more artifacts");
                lines.push(format!("…          {more}; --json lists all"));
            }
            lines.join("\n")
        },
    )
}

fn json(inventory: &Inventory) -> Value {
    let release = |usage: &ReleaseUsage| {
        let mut json = release_json(&usage.release);
        json["artifacts"] = usage.artifacts.into();
        json["complete_artifacts"] = usage.complete.into();
        json["complete"] = usage.is_complete().into();
        json["size"] = usage.size.into();
        json["disk_bytes"] = usage.bytes.into();
        json
    };
    json!({
        "releases": inventory.releases.iter().map(release).collect::<Vec<_>>(),
        "pins": inventory.pins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "orphans": { "files": inventory.orphans.len(), "disk_bytes": orphan_bytes(inventory) },
        "disk_bytes": inventory.bytes,
        "problems": inventory.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn text(inventory: &Inventory) -> String {
    let names: Vec<_> = inventory.releases.iter().map(|usage| release_text(&usage.release)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let line = |(usage, name): (&ReleaseUsage, &String)| {
        let state = match usage.is_complete() {
            true => String::new(),
            false => format!("  {} of {} artifacts", usage.complete, usage.artifacts),
        };
        let marks = marks(usage.release.is_current, usage.release.is_pinned);
        format!("{name:<width$}  {:>10}{state}{marks}", Bytes(usage.bytes))
    };
    let mut lines: Vec<_> = inventory.releases.iter().zip(&names).map(line).collect();
    if lines.is_empty() {
        lines.push("no releases".to_owned());
    }
    let others =
        inventory.pins.iter().filter(|cid| inventory.releases.iter().all(|usage| usage.release.manifest != **cid));
    lines.extend(others.map(|cid| format!("pinned     {cid}")));
    let orphans = match inventory.orphans.len() {
        0 => String::new(),
        count => {
            let files = counted(count, "file", "files");
            format!("; {files} ({}) that no release needs: see `phase store gc`", Bytes(orphan_bytes(inventory)))
        }
    };
    lines.push(format!("disk space {}{orphans}", Bytes(inventory.bytes)));
    lines.join("\n")
}

fn orphan_bytes(inventory: &Inventory) -> u64 {
    inventory.orphans.iter().map(|file| file.bytes).sum()
}

fn marks(is_current: bool, is_pinned: bool) -> &'static str {
    match (is_current, is_pinned) {
        (true, true) => "  current, pinned",
        (true, false) => "  current",
        (false, true) => "  pinned",
        (false, false) => "",
    }
}

fn artifact_json(artifact: &StoredArtifact) -> Value {
    let mut json = phase_cli::json_entry(&artifact.entry);
    json["disk_bytes"] = artifact.bytes.into();
    json["pinned"] = artifact.is_pinned.into();
    json["state"] = match &artifact.state {
        ArtifactState::Complete => "complete",
        ArtifactState::Reference(_) => "reference",
        ArtifactState::Partial { .. } => "partial",
        ArtifactState::Damaged => "damaged",
        _ => "missing",
    }
    .into();
    if let ArtifactState::Reference(path) = &artifact.state {
        json["path"] = path.display().to_string().into();
    }
    if let ArtifactState::Partial { stored, chunks } = artifact.state {
        json["chunks"] = json!({ "stored": stored, "total": chunks });
    }
    json
}

fn artifact_text(artifact: &StoredArtifact) -> String {
    let state = match &artifact.state {
        ArtifactState::Complete => "complete".to_owned(),
        ArtifactState::Reference(path) => format!("reference to {}", path.display()),
        ArtifactState::Partial { stored, chunks } if *chunks > 0 => {
            format!("partial, {} %", u64::from(*stored) * 100 / u64::from(*chunks))
        }
        ArtifactState::Partial { .. } => "partial".to_owned(),
        ArtifactState::Damaged => "damaged".to_owned(),
        _ => "missing".to_owned(),
    };
    let entry = &artifact.entry;
    let (role, name) = (entry.role.as_str(), printable(entry.filename.as_str()));
    let pinned = if artifact.is_pinned { ", pinned" } else { "" };
    format!("{role:<10} {name}  {}  {}  {}{pinned}", Bytes(entry.size), entry.cid, printable(&state))
}
