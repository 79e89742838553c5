//! `phase store`: what a store has, what is damaged, and what is removed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use super::sandbox::{Sandbox, names};

const PUBLISH: &str = "publish --store store --root root.cbor --key a.key --channel stable --arch x86_64";

/// Publishes three versions of `stable/x86_64` in the store `store`. They share the file `shared`. Returns the releases.
fn published() -> (Sandbox, Vec<Value>) {
    let sandbox = Sandbox::with_root();
    sandbox.file("shared", 300_000);
    let publish = |version: usize| {
        let file = format!("kernel-{version}");
        sandbox.file(&file, 200_000 + version);
        sandbox.json(&format!("{PUBLISH} --artifact kernel={file} --artifact file=shared"))
    };
    let releases = (1..=3).map(publish).collect();
    (sandbox, releases)
}

fn artifact(sandbox: &Sandbox, release: &Value, position: usize) -> PathBuf {
    sandbox.path("store/artifacts").join(release["artifacts"][position]["cid"].as_str().unwrap())
}

fn versions(sandbox: &Sandbox) -> Vec<(u64, bool, bool)> {
    let listed = sandbox.json("store ls --store store");
    let releases = listed["releases"].as_array().unwrap().iter();
    let flag = |release: &Value, name: &str| release[name].as_bool().unwrap();
    releases
        .map(|release| (release["version"].as_u64().unwrap(), flag(release, "current"), flag(release, "complete")))
        .collect()
}

#[test]
fn ls_shows_releases_artifacts_and_disk_space() {
    let (sandbox, releases) = published();
    assert_eq!(versions(&sandbox), [(3, true, true), (2, false, true), (1, false, true)]);
    let text = sandbox.ok("store ls --store store");
    assert!(text.contains("stable/x86_64@3") && text.contains("current") && text.contains("disk space"), "{text}");
    let one = sandbox.json("store ls stable/x86_64@1 --store store");
    assert_eq!((&one["manifest"], &one["artifacts"][0]["state"]), (&releases[0]["manifest"], &"complete".into()));
    assert_eq!(sandbox.json("store ls stable/x86_64 --store store")["version"], 3);
    std::fs::remove_file(artifact(&sandbox, &releases[0], 0)).unwrap();
    assert_eq!(sandbox.json("store ls stable/x86_64@1 --store store")["artifacts"][0]["state"], "missing");
    assert_eq!(versions(&sandbox)[2], (1, false, false));
    sandbox.fails("store ls stable/x86_64@9 --store store", 4, &["stable/x86_64@9", "not in the store"]);
    sandbox.fails("store ls stable --store store", 2, &["stable"]);
    sandbox.fails("store ls --store nowhere", 7, &["no store at nowhere"]);
}

#[test]
fn verify_names_the_damaged_file_and_the_releases_and_exits_with_7() {
    let (sandbox, releases) = published();
    assert_eq!(sandbox.json("store verify --store store")["ok"], true);
    let path = artifact(&sandbox, &releases[0], 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let run = sandbox.run("store verify --store store --json");
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let problem = &found["problems"][0];
    assert_eq!((run.code, found["problems"].as_array().unwrap().len()), (7, 1), "{found:#}");
    assert_eq!((&problem["kind"], &problem["file"]), (&"damaged".into(), &path.to_str().unwrap().into()));
    assert_eq!(problem["releases"].as_array().unwrap().len(), 3);
    sandbox.fails("store verify --store store", 7, &["1 damaged, 0 missing, 0 unreadable"]);
    let text = sandbox.run("store verify --store store").stdout;
    assert!(text.contains("stable/x86_64@1") && text.contains(path.to_str().unwrap()), "{text}");
}

#[test]
fn prune_keeps_the_chosen_number_of_releases_and_a_dry_run_changes_nothing() {
    let (sandbox, releases) = published();
    let before = names(&sandbox.path("store/artifacts"));
    let planned = sandbox.json("store prune --keep 2 --dry-run --store store");
    assert_eq!((&planned["dry_run"], &planned["releases"][0]["version"]), (&true.into(), &1.into()));
    assert_eq!(names(&sandbox.path("store/artifacts")), before);
    let done = sandbox.json("store prune --keep 2 --store store");
    assert_eq!((&done["files"], &done["freed_bytes"]), (&planned["files"], &planned["freed_bytes"]));
    assert!(done["freed_bytes"].as_u64() >= Some(200_000), "{done:#}");
    assert_eq!(versions(&sandbox), [(3, true, true), (2, false, true)]);
    assert!(!artifact(&sandbox, &releases[0], 0).exists());
    assert!(artifact(&sandbox, &releases[0], 1).exists(), "the shared file is gone");
    assert_eq!(sandbox.json("store verify --store store")["ok"], true);
    sandbox.fails("store prune --store store", 2, &["--keep"]);
    sandbox.fails("store prune --keep 0 --store store", 2, &["--keep"]);
    sandbox.fails("store prune --max-size 1KiB --store store", 7, &["still uses", "1.0 KiB"]);
    assert_eq!(versions(&sandbox), [(3, true, true)]);
}

#[test]
fn a_pinned_release_stays_until_it_is_unpinned() {
    let (sandbox, releases) = published();
    sandbox.ok("store pin stable/x86_64@1 --store store");
    sandbox.ok("store prune --keep 1 --store store");
    assert_eq!(versions(&sandbox), [(3, true, true), (1, false, true)]);
    sandbox.fails("store rm stable/x86_64@1 --store store", 2, &["stable/x86_64@1 is pinned"]);
    assert_eq!(sandbox.json("store ls --store store")["pins"][0], releases[0]["manifest"]);
    assert_eq!(sandbox.json("store unpin stable/x86_64 --store store")["cid"], releases[0]["manifest"]);
    sandbox.ok("store rm stable/x86_64@1 --store store");
    assert_eq!(versions(&sandbox), [(3, true, true)]);
    sandbox.fails("store pin stable/x86_64@1 --store store", 4, &["not in the store"]);
    // An artifact can be pinned too.
    let cid = releases[2]["artifacts"][0]["cid"].as_str().unwrap();
    sandbox.ok(&format!("store pin {cid} --store store"));
    sandbox.ok("store rm stable/x86_64 --store store");
    assert!(artifact(&sandbox, &releases[2], 0).exists() && !artifact(&sandbox, &releases[2], 1).exists());
}

#[test]
fn rm_removes_the_current_release_with_its_ref_and_nothing_else() {
    let (sandbox, releases) = published();
    let planned = sandbox.json("store rm stable/x86_64 --dry-run --store store");
    assert_eq!(planned["releases"][0]["version"], 3);
    assert_eq!(versions(&sandbox)[0], (3, true, true));
    sandbox.ok("store rm stable/x86_64 --store store");
    assert_eq!(versions(&sandbox), [(2, false, true), (1, false, true)]);
    assert!(names(&sandbox.path("store/refs/stable")).is_empty());
    assert!(!artifact(&sandbox, &releases[2], 0).exists() && artifact(&sandbox, &releases[2], 1).exists());
    for _ in 0..2 {
        sandbox.ok("store rm stable/x86_64 --store store");
    }
    assert!(names(&sandbox.path("store/artifacts")).is_empty());
    sandbox.fails("store rm stable/x86_64 --store store", 4, &["not in the store"]);
    assert_eq!(sandbox.json("store verify --store store")["ok"], true);
}

#[test]
fn gc_spares_what_was_just_stored_and_removes_abandoned_partial_artifacts() {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 100_000);
    let manifest = "manifest new --store store --channel stable --arch x86_64 --version 1 --artifact kernel=vmlinuz";
    sandbox.ok(&format!("{manifest} -o m.cbor"));
    let cid = names(&sandbox.path("store/blocks")).pop().unwrap();
    let part = sandbox.path(&format!("store/artifacts/{cid}.part"));
    std::fs::write(&part, "chunks").unwrap();
    let done = sandbox.json("store gc --store store");
    assert_eq!(done["files"].as_array().unwrap().len(), 0, "{done:#}");
    let mut removed = Value::Null;
    while part.exists() {
        removed = sandbox.json("store gc --part-age 1s --store store");
    }
    assert_eq!(removed["files"][0]["kind"], "partial", "{removed:#}");
    // The imported artifact is younger than an hour, so it can still be published.
    sandbox.ok("manifest sign m.cbor --key a.key");
    sandbox.ok("publish --store store --root root.cbor --key a.key --manifest m.cbor");
    assert_eq!(versions(&sandbox), [(1, true, true)]);
}

#[test]
fn repair_without_damage_needs_no_network() {
    let (sandbox, _) = published();
    let done = sandbox.json("store repair --store store --root root.cbor");
    assert_eq!(done["fetched"].as_array().unwrap().len(), 0);
}
