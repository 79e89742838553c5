//! A release is published completely or not at all.

use super::sandbox::{Sandbox, names};

const PUBLISH: &str = "publish --store store --root root.cbor --key a.key";
const NAMED: &str = "--channel stable --arch x86_64";

#[test]
fn each_release_gets_a_higher_version_than_the_one_before() {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 500_000);
    let first = sandbox.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz"));
    assert_eq!((first["name"].as_str(), first["version"].as_u64()), (Some("stable/x86_64"), Some(1)));
    let pointer = sandbox.json("inspect store/refs/stable/x86_64");
    assert_eq!((&pointer["type"], &pointer["manifest"]), (&"pointer".into(), &first["manifest"]));

    let second = sandbox.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz"));
    assert_eq!((&second["version"], &second["release"]), (&2.into(), &"2".into()));
    let third = sandbox.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --release 1"));
    assert_eq!((&third["version"], &third["release"]), (&3.into(), &"1".into()));
    assert_eq!(sandbox.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --version 9"))["version"], 9);
    for version in [8, 9] {
        let words = format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --version {version}");
        sandbox.fails(&words, 3, &["not above version 9"]);
    }
    assert_eq!(sandbox.json("inspect store/refs/stable/x86_64")["version"], 9);
}

#[test]
fn a_folder_is_published_with_all_its_files_even_an_empty_one() {
    let sandbox = Sandbox::with_root();
    sandbox.file("files/empty", 0);
    sandbox.file("files/sub/large", 3_000_000);
    let release = sandbox.json(&format!("{PUBLISH} --channel edge --arch any --dir files"));
    let stored = sandbox.json(&format!("inspect {} --store store", release["manifest"].as_str().unwrap()));
    for artifact in stored["artifacts"].as_array().unwrap() {
        assert_eq!(artifact["stored"]["state"], "complete", "{artifact}");
        let kept = std::fs::read(artifact["stored"]["path"].as_str().unwrap()).unwrap();
        let original = sandbox.path("files").join(artifact["filename"].as_str().unwrap());
        assert!(kept == std::fs::read(original).unwrap());
    }
}

#[test]
fn a_signed_manifest_is_published_with_only_a_key_for_pointer_records() {
    let sandbox = Sandbox::new();
    for key in ["a.key", "b.key", "online.key"] {
        sandbox.ok(&format!("key new {key}"));
    }
    sandbox.ok(
        "root new --channel stable --key a.key --key b.key --threshold 2 --pointer-key online.key.pub -o root.cbor",
    );
    sandbox.file("vmlinuz", 10_000);
    sandbox.ok(
        "manifest new --store store --channel stable --arch x86_64 --version 4 --artifact kernel=vmlinuz -o m.cbor",
    );
    sandbox.ok("manifest sign m.cbor --key a.key");
    let publish = "publish --store store --root root.cbor --manifest m.cbor";
    sandbox.fails(&format!("{publish} --key online.key"), 6, &["1 of 2 required signatures"]);
    assert!(names(&sandbox.path("store/refs")).is_empty(), "a release that no client accepts was published");
    sandbox.ok("manifest sign m.cbor --key b.key");
    sandbox.fails(&format!("{publish} --key a.key"), 6, &["pointer", "0 of 1 required signatures"]);
    assert_eq!(sandbox.json(&format!("{publish} --key online.key"))["version"], 4);
    // Publishing the same release again renews the pointer record. Another release of the same version is refused.
    sandbox.ok(&format!("{publish} --key online.key"));
    let other = "manifest new --store store --channel stable --arch x86_64 --release other --artifact kernel=vmlinuz";
    sandbox.ok(&format!("{other} --version 4 -o other.cbor"));
    sandbox.ok("manifest sign other.cbor --key a.key --key b.key");
    let publish = "publish --store store --root root.cbor --key online.key --manifest other.cbor";
    sandbox.fails(publish, 3, &["not above version 4"]);
}

#[test]
fn a_manifest_whose_artifacts_are_not_in_the_store_is_not_published() {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 10_000);
    sandbox.ok(
        "manifest new --store elsewhere --channel stable --arch x86_64 --version 1 --artifact kernel=vmlinuz -o m.cbor",
    );
    sandbox.ok("manifest sign m.cbor --key a.key");
    sandbox.fails(&format!("{PUBLISH} --manifest m.cbor"), 7, &["no store at store"]);
    for other in ["--artifact kernel=vmlinuz", "--dir .", "--channel stable", "--cmdline quiet", "--version 2"] {
        sandbox.fails(&format!("{PUBLISH} --manifest m.cbor {other}"), 2, &["cannot be used with"]);
    }
    sandbox.file("other", 10);
    sandbox.ok(&format!("{PUBLISH} --channel edge --arch any --artifact file=other"));
    sandbox.fails(&format!("{PUBLISH} --manifest m.cbor"), 3, &["vmlinuz", "not in the store"]);
    assert_eq!(names(&sandbox.path("store/refs")), ["edge"]);
}

#[test]
fn a_release_that_clients_would_refuse_fails_before_files_are_imported() {
    let sandbox = Sandbox::with_root();
    sandbox.ok("key new other.key");
    sandbox.file("vmlinuz", 10_000);
    sandbox.file("sub/vmlinuz", 20);
    let untrusted = "publish --store store --root root.cbor --key other.key";
    sandbox.fails(&format!("{untrusted} {NAMED} --artifact kernel=vmlinuz"), 6, &["0 of 1 required signatures"]);
    sandbox.fails(
        &format!("{PUBLISH} --channel nightly --arch any --artifact kernel=vmlinuz"),
        6,
        &["no channel nightly"],
    );
    let twice = "--artifact kernel=vmlinuz --artifact file=sub/vmlinuz";
    sandbox.fails(&format!("{PUBLISH} {NAMED} {twice}"), 3, &["two artifacts are called vmlinuz"]);
    let inside = "--artifact kernel=vmlinuz --artifact file:vmlinuz/x=sub/vmlinuz";
    sandbox.fails(&format!("{PUBLISH} {NAMED} {inside}"), 3, &["vmlinuz/x"]);
    sandbox.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=missing"), 3, &["missing", "No such file"]);
    sandbox.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=sub"), 3, &["sub is a folder", "not a regular file"]);
    let folder = sandbox.run(&format!("{PUBLISH} {NAMED} --artifact kernel=sub"));
    assert!(folder.stderr.contains("hint: use --dir sub"), "{}", folder.stderr);
    sandbox.fails(&format!("{PUBLISH} {NAMED} --dir missing"), 3, &["missing", "No such file"]);
    sandbox.fails(&format!("{PUBLISH} {NAMED}"), 2, &["no artifacts"]);
    sandbox.fails(&format!("{PUBLISH} {NAMED} --artifact vmlinuz"), 2, &["ROLE=PATH"]);
    sandbox.fails(&format!("{PUBLISH} --artifact kernel=vmlinuz"), 2, &["--channel"]);
    sandbox.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --url ftp://x"), 3, &["http"]);
    assert!(!sandbox.path("store/refs/stable").exists() && names(&sandbox.path("store/artifacts")).is_empty());
}

#[test]
fn a_file_imported_by_reference_counts_as_damaged_once_it_has_changed() {
    let sandbox = Sandbox::with_root();
    let path = sandbox.file("image", 400_000);
    let release = sandbox.json(&format!("{PUBLISH} {NAMED} --artifact rootfs=image --reference"));
    let cid = release["artifacts"][0]["cid"].as_str().unwrap().to_owned();
    let state = || {
        let run = sandbox.run(&format!("inspect {cid} --store store --json"));
        let shown: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(run.code, if shown["stored"]["state"] == "damaged" { 7 } else { 0 });
        shown["stored"].clone()
    };
    assert_eq!((&state()["state"], &state()["path"]), (&"complete".into(), &path.to_str().unwrap().into()));
    assert!(names(&sandbox.path("store/artifacts")).iter().all(|name| name.ends_with(".seal")), "it was copied");
    sandbox.file("image", 400_001);
    assert_eq!(state()["state"], "damaged");
    assert!(state()["error"].as_str().unwrap().contains("changed"), "{}", state());
}
