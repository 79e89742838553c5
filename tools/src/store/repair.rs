//! `phase store repair`: verifies a store, sets damaged files aside, and fetches them again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phase_cli::{self as cli, EXIT_CODES, Fault, NodeArgs, counted};
use phase_client::{Client, FetchOptions, ResolveOptions, Resolved, Selection, Trust};
use phase_core::store::{FileStore, Problem, ProblemKind, Store as _, StoredRelease};
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Cid, Envelope, Failure, Name};
use serde_json::json;

use super::releases::cids;
use super::verify;
use crate::network;
use crate::options::StoreArgs;
use crate::output::Output;

pub(super) const EXAMPLES: &str = "\
Examples:
  phase store repair --store store --root root.cbor --bootstrap /ip4/127.0.0.1/tcp/4001
  phase store repair --store store --root root.cbor --peer /ip4/127.0.0.1/tcp/4001 --json

Damaged files are moved to the folder `damaged` of the store, which keeps the last few. A file that was imported by
reference is not touched: the store fetches a copy. Nothing is changed if no peer can be reached.";

#[derive(clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The trust root, which lists the keys that may sign the releases in the store
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Give up on a release after this long without a valid chunk from any peer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = cli::parse_duration,
        allow_hyphen_values = true)]
    give_up_after: Duration,
}

/// The result of a repair.
#[derive(Default)]
struct Repaired {
    /// Where damaged files are now.
    set_aside: Vec<PathBuf>,
    /// The artifacts that were fetched again.
    fetched: BTreeSet<Cid>,
    /// The artifacts that stay missing, each with the reason.
    missing: BTreeMap<Cid, String>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Fault> {
    let trust = Trust { root: cli::read_root(&args.root)?, time: TrustedTime(cli::now()) };
    let store = args.store.open_existing()?;
    let problems = verify::find_problems(&store, output)?;
    for problem in &problems {
        output.remark(&verify::problem_text(problem));
    }
    let unreadable = problems.iter().filter(|problem| problem.kind == ProblemKind::Unreadable).count();
    let repaired = match problems.len() - unreadable {
        0 => Repaired::default(),
        _ => network::ask(async {
            let client = network::join(&args.node, Some(Arc::new(store.clone()))).await?;
            let repaired = repair(&client, &store, &trust, &problems, args).await;
            client.stop().await;
            repaired
        })?,
    };
    print(&repaired, &problems, output)?;
    match repaired.missing.iter().next() {
        Some((cid, why)) => {
            let count = counted(repaired.missing.len(), "artifact stays", "artifacts stay");
            Err(Fault::new(Failure::NotFound, format!("{count} missing: {cid}: {why}")))
        }
        None if unreadable > 0 => {
            let files = counted(unreadable, "file cannot", "files cannot");
            let message = format!("{files} be read, and may be undamaged");
            Err(Fault::new(Failure::Store, message)
                .hint("check the permissions and the disk; run the command as the owner of the store"))
        }
        None => Ok(()),
    }
}

async fn repair(
    client: &Client,
    store: &FileStore,
    trust: &Trust,
    problems: &[Problem],
    args: &Args,
) -> Result<Repaired, Fault> {
    let mut repaired = Repaired::default();
    for problem in problems.iter().filter(|problem| problem.kind != ProblemKind::Unreadable) {
        repaired.set_aside.extend(set_aside(store, problem)?);
    }
    // Refs first, because a release that is fetched for its name needs no second fetch.
    let names: BTreeSet<&Name> = problems.iter().filter_map(|problem| problem.name.as_ref()).collect();
    for name in names {
        fetch_name(client, trust, name, args).await?;
    }
    let unverified = problems.iter().filter(|problem| is_block(problem)).filter_map(|problem| problem.artifact);
    let unverified: BTreeSet<Cid> = unverified.collect();
    // What a pin leads to is in no release, so nothing says which peers have it.
    let lost = problems.iter().filter(|problem| problem.kind == ProblemKind::Missing && problem.artifact.is_none());
    let lost = lost.filter(|problem| problem.name.is_none());
    let named = lost.filter_map(|problem| Some((problem.path.file_name()?.to_str()?.parse().ok()?, problem)));
    repaired.missing.extend(named.map(|(cid, problem)| (cid, problem.error.to_string())));
    let mut todo = affected(store, problems)?;
    while let Some((release, lacking)) = todo.pop() {
        let mut outcome = fetch_release(client, store, &trust.root, &release, &lacking, args).await;
        // An artifact whose index was lost could not be verified before its index was fetched.
        let damaged = lacking.iter().filter(|cid| unverified.contains(cid)).map(|cid| store.set_aside(cid));
        let damaged: Vec<PathBuf> = damaged.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        if !damaged.is_empty() {
            repaired.set_aside.extend(damaged);
            outcome = fetch_release(client, store, &trust.root, &release, &lacking, args).await;
        }
        for cid in lacking {
            match (store.artifact(&cid), &outcome) {
                (Ok(Some(_)), _) => {
                    repaired.missing.remove(&cid);
                    repaired.fetched.insert(cid);
                }
                (Err(error), _) => drop(repaired.missing.insert(cid, error.to_string())),
                (Ok(None), Err(fault)) => drop(repaired.missing.insert(cid, fault.chain())),
                (Ok(None), Ok(())) => drop(repaired.missing.insert(cid, "it was removed meanwhile".to_owned())),
            }
        }
    }
    Ok(repaired)
}

/// Sets aside the file of a problem, if it is damaged. Returns where it is now.
fn set_aside(store: &FileStore, problem: &Problem) -> Result<Option<PathBuf>, Fault> {
    if let Some(name) = &problem.name {
        return Ok(store.set_aside_ref(name)?);
    }
    let block = problem.path.file_name().filter(|_| is_block(problem));
    if let Some(cid) = block.and_then(|name| name.to_str()?.parse().ok()) {
        return Ok(store.set_aside_block(&cid)?);
    }
    let Some(cid) = &problem.artifact else { return Ok(None) };
    let moved = store.set_aside(cid)?;
    // Opening an undamaged artifact replaces a seal that is damaged.
    let _ = store.artifact(cid);
    Ok(moved)
}

/// Returns whether the file of a problem is a block.
fn is_block(problem: &Problem) -> bool {
    problem.path.parent().is_some_and(|folder| folder.ends_with("blocks"))
}

/// Returns the releases with a damaged or missing artifact, each with these artifacts.
fn affected(store: &FileStore, problems: &[Problem]) -> Result<Vec<(StoredRelease, BTreeSet<Cid>)>, Fault> {
    let mut releases = BTreeMap::<Cid, StoredRelease>::new();
    for problem in problems.iter().filter(|problem| problem.kind != ProblemKind::Unreadable) {
        releases.extend(problem.releases.iter().map(|release| (release.manifest, release.clone())));
    }
    let affected: BTreeSet<Cid> = problems.iter().filter_map(|problem| problem.artifact).collect();
    let mut all = Vec::new();
    for (cid, release) in releases {
        // A manifest that was damaged is gone. If its release is current, it was fetched for its name.
        let Some(manifest) = store.manifest(&cid)? else { continue };
        let lacks = |cid: &Cid| affected.contains(cid) && !matches!(store.artifact(cid), Ok(Some(_)));
        let lacking: BTreeSet<Cid> = manifest.artifacts.iter().map(|entry| entry.cid).filter(lacks).collect();
        if !lacking.is_empty() {
            all.push((release, lacking));
        }
    }
    Ok(all)
}

/// Fetches the newest release of a name whose ref was damaged or led nowhere.
async fn fetch_name(client: &Client, trust: &Trust, name: &Name, args: &Args) -> Result<(), Fault> {
    let resolved = client.resolve(name, trust, ResolveOptions::default()).await?;
    client.fetch(&resolved, options(Selection::All, false, args)).finish().await?;
    Ok(())
}

/// Fetches some artifacts of a release whose manifest is in the store.
async fn fetch_release(
    client: &Client,
    store: &FileStore,
    root: &TrustRoot,
    release: &StoredRelease,
    lacking: &BTreeSet<Cid>,
    args: &Args,
) -> Result<(), Fault> {
    let Some(envelope) = store.block(&release.manifest)? else { return Ok(()) };
    let signed = Envelope::decode(&envelope)?;
    // The release was accepted when it was stored. It is repaired although it may have expired since.
    let manifest = root.verify_manifest(&signed, &release.name, TrustedTime(release.issued_at))?;
    let files = manifest.artifacts.iter().filter(|entry| lacking.contains(&entry.cid));
    let selection = Selection::Some(files.map(|entry| entry.filename.to_string()).collect());
    let connected = client.node().peers().into_iter().filter(|info| info.is_connected());
    let resolved = Resolved {
        name: release.name.clone(),
        manifest,
        manifest_cid: release.manifest,
        // It is not used, because the ref stays as it is.
        pointer: signed,
        envelope,
        answers: Vec::new(),
        providers: connected.map(|info| info.peer).collect(),
        pointer_in_dht: false,
        elapsed: Duration::ZERO,
    };
    client.fetch(&resolved, options(selection, true, args)).finish().await?;
    Ok(())
}

fn options(selection: Selection, keeps_ref: bool, args: &Args) -> FetchOptions {
    let mut options = FetchOptions { selection, keeps_ref, ..FetchOptions::default() };
    options.download.give_up_after = args.give_up_after;
    options
}

fn print(repaired: &Repaired, problems: &[Problem], output: &Output) -> Result<(), Fault> {
    let fetched: Vec<_> = repaired.fetched.iter().copied().collect();
    output.result(
        || {
            let missing = repaired.missing.iter();
            json!({
                "problems": problems.iter().map(verify::problem_json).collect::<Vec<_>>(),
                "set_aside": repaired.set_aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
                "fetched": cids(&fetched),
                "missing": missing.map(|(cid, why)| json!({ "cid": cid.to_string(), "error": why })).collect::<Vec<_>>(),
            })
        },
        || {
            let mut lines = Vec::new();
            lines.extend(repaired.set_aside.iter().map(|path| format!("set aside  {}", path.display())));
            lines.extend(fetched.iter().map(|cid| format!("fetched    {cid}")));
            lines.extend(repaired.missing.iter().map(|(cid, why)| format!("missing    {cid}: {why}")));
            if lines.is_empty() {
                lines.push("nothing to repair".to_owned());
            }
            lines.iter().map(|line| cli::printable(line)).collect::<Vec<_>>().join("\n")
        },
    )
}
