//! `phase store verify`.

use phase_cli::{EXIT_CODES, Fault, counted, printable};
use phase_core::Failure;
use phase_core::store::{FileStore, Problem, ProblemKind};
use serde_json::{Value, json};

use super::releases::release_text;
use crate::options::StoreArgs;
use crate::output::Output;
use crate::progress::Progress;

pub(super) const EXAMPLES: &str = "\
Examples:
  phase store verify --store store
  phase store verify --store store --json

Every file is hashed against what its name says, although the store remembers which files it has verified before. Two
threads are used, and nothing is changed. Exit code 7 means that a file is damaged, missing or unreadable.";

/// The maximum number of releases that are named for each problem in text.
const MAX_RELEASES: usize = 4;

#[derive(clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let store = args.store.open_existing()?;
    let problems = find_problems(&store, output)?;
    output.result(
        || json!({ "ok": problems.is_empty(), "problems": problems.iter().map(problem_json).collect::<Vec<_>>() }),
        || match problems.as_slice() {
            [] => "no damage: all files were hashed and match".to_owned(),
            problems => problems.iter().map(problem_text).collect::<Vec<_>>().join("\n"),
        },
    )?;
    if problems.is_empty() {
        return Ok(());
    }
    let count = |kind| problems.iter().filter(|problem| problem.kind == kind).count();
    let [damaged, missing, unreadable] =
        [ProblemKind::Damaged, ProblemKind::Missing, ProblemKind::Unreadable].map(count);
    let message =
        format!("files of the store are wrong: {damaged} damaged, {missing} missing, {unreadable} unreadable");
    let hint = match damaged + missing {
        0 => "check the permissions and the disk; run the command as the owner of the store",
        _ => "`phase store repair` fetches damaged and missing content again",
    };
    Err(Fault::new(Failure::Store, message).hint(hint))
}

/// Verifies a store, and shows the progress.
pub(super) fn find_problems(store: &FileStore, output: &Output) -> Result<Vec<Problem>, Fault> {
    let mut bar = Progress::new(output.shows_progress());
    let problems = store.verify(&mut |now| bar.update(now.done, now.total, "hashed"));
    bar.end();
    Ok(problems?)
}

pub(super) fn problem_json(problem: &Problem) -> Value {
    json!({
        "file": problem.path.display().to_string(),
        "kind": kind(problem.kind),
        "error": problem.error.to_string(),
        "artifact": problem.artifact.map(|cid| cid.to_string()),
        "name": problem.name.as_ref().map(ToString::to_string),
        "releases": problem.releases.iter().map(|release| json!({
            "name": release.name.to_string(),
            "version": release.version,
            "manifest": release.manifest.to_string(),
            "current": release.is_current,
        })).collect::<Vec<_>>(),
    })
}

pub(super) fn problem_text(problem: &Problem) -> String {
    let releases = &problem.releases;
    let mut needed: Vec<_> = releases.iter().take(MAX_RELEASES).map(release_text).collect();
    if releases.len() > MAX_RELEASES {
        needed.push(counted(releases.len() - MAX_RELEASES, "more release", "more releases"));
    }
    let needed = match needed.is_empty() {
        true => String::new(),
        false => format!("; needed by {}", needed.join(", ")),
    };
    let artifact = problem.artifact.filter(|cid| !problem.path.to_string_lossy().contains(&cid.to_string()));
    let artifact = artifact.map(|cid| format!(" (artifact {cid})")).unwrap_or_default();
    printable(&format!("{:<10} {}{artifact}{needed}", kind(problem.kind), problem.error))
}

fn kind(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Damaged => "damaged",
        ProblemKind::Missing => "missing",
        ProblemKind::Unreadable => "unreadable",
    }
}
