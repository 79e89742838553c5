//! A release becomes visible at once and whole, or not at all.

use super::support::{Bench, names};

const PUBLISH: &str = "publish --store store --root root.cbor --key a.key";
const NAMED: &str = "--channel stable --arch x86_64";

#[test]
fn each_release_gets_the_next_version_and_none_goes_back() {
    let bench = Bench::with_root();
    bench.file("vmlinuz", 500_000);
    let first = bench.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz"));
    assert_eq!((first["name"].as_str(), first["version"].as_u64()), (Some("stable/x86_64"), Some(1)));
    let pointer = bench.json("inspect store/refs/stable/x86_64");
    assert_eq!((&pointer["type"], &pointer["manifest"]), (&"pointer".into(), &first["manifest"]));

    let second = bench.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz"));
    assert_eq!((&second["version"], &second["release"]), (&2.into(), &"2".into()));
    let third = bench.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --release 1"));
    assert_eq!((&third["version"], &third["release"]), (&3.into(), &"1".into()));
    assert_eq!(bench.json(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --version 9"))["version"], 9);
    for version in [8, 9] {
        let words = format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --version {version}");
        bench.fails(&words, 3, &["not above version 9"]);
    }
    assert_eq!(bench.json("inspect store/refs/stable/x86_64")["version"], 9);
}

#[test]
fn a_folder_with_an_empty_file_is_published_whole() {
    let bench = Bench::with_root();
    bench.file("files/empty", 0);
    bench.file("files/sub/large", 3_000_000);
    let release = bench.json(&format!("{PUBLISH} --channel edge --arch any --dir files"));
    let stored = bench.json(&format!("inspect {} --store store", release["manifest"].as_str().unwrap()));
    for artifact in stored["artifacts"].as_array().unwrap() {
        assert_eq!(artifact["stored"]["state"], "complete", "{artifact}");
        let kept = std::fs::read(artifact["stored"]["path"].as_str().unwrap()).unwrap();
        let original = bench.path("files").join(artifact["filename"].as_str().unwrap());
        assert!(kept == std::fs::read(original).unwrap());
    }
}

#[test]
fn a_manifest_signed_elsewhere_is_published_with_a_pointer_key_alone() {
    let bench = Bench::new();
    for key in ["a.key", "b.key", "online.key"] {
        bench.ok(&format!("key new {key}"));
    }
    bench.ok(
        "root new --channel stable --key a.key --key b.key --threshold 2 --pointer-key online.key.pub -o root.cbor",
    );
    bench.file("vmlinuz", 10_000);
    bench.ok(
        "manifest new --store store --channel stable --arch x86_64 --version 4 --artifact kernel=vmlinuz -o m.cbor",
    );
    bench.ok("manifest sign m.cbor --key a.key");
    let publish = "publish --store store --root root.cbor --manifest m.cbor";
    bench.fails(&format!("{publish} --key online.key"), 6, &["1 of 2 required signatures"]);
    assert!(names(&bench.path("store/refs")).is_empty(), "a release that nobody accepts is visible");
    bench.ok("manifest sign m.cbor --key b.key");
    bench.fails(&format!("{publish} --key a.key"), 6, &["pointer", "0 of 1 required signatures"]);
    assert_eq!(bench.json(&format!("{publish} --key online.key"))["version"], 4);
    // Again, to renew the pointer; but not another release of the same version.
    bench.ok(&format!("{publish} --key online.key"));
    let other = "manifest new --store store --channel stable --arch x86_64 --release other --artifact kernel=vmlinuz";
    bench.ok(&format!("{other} --version 4 -o other.cbor"));
    bench.ok("manifest sign other.cbor --key a.key --key b.key");
    let publish = "publish --store store --root root.cbor --key online.key --manifest other.cbor";
    bench.fails(publish, 3, &["not above version 4"]);
}

#[test]
fn a_manifest_whose_files_are_not_there_is_not_published() {
    let bench = Bench::with_root();
    bench.file("vmlinuz", 10_000);
    bench.ok(
        "manifest new --store elsewhere --channel stable --arch x86_64 --version 1 --artifact kernel=vmlinuz -o m.cbor",
    );
    bench.ok("manifest sign m.cbor --key a.key");
    bench.fails(&format!("{PUBLISH} --manifest m.cbor"), 7, &["no store at store"]);
    for other in ["--artifact kernel=vmlinuz", "--dir .", "--channel stable", "--cmdline quiet", "--version 2"] {
        bench.fails(&format!("{PUBLISH} --manifest m.cbor {other}"), 2, &["cannot be used with"]);
    }
    bench.file("other", 10);
    bench.ok(&format!("{PUBLISH} --channel edge --arch any --artifact file=other"));
    bench.fails(&format!("{PUBLISH} --manifest m.cbor"), 3, &["vmlinuz", "not in the store"]);
    assert_eq!(names(&bench.path("store/refs")), ["edge"]);
}

#[test]
fn what_a_client_would_refuse_is_found_before_anything_is_imported() {
    let bench = Bench::with_root();
    bench.ok("key new stranger.key");
    bench.file("vmlinuz", 10_000);
    bench.file("sub/vmlinuz", 20);
    let stranger = "publish --store store --root root.cbor --key stranger.key";
    bench.fails(&format!("{stranger} {NAMED} --artifact kernel=vmlinuz"), 6, &["0 of 1 required signatures"]);
    bench.fails(
        &format!("{PUBLISH} --channel nightly --arch any --artifact kernel=vmlinuz"),
        6,
        &["no channel nightly"],
    );
    let twice = "--artifact kernel=vmlinuz --artifact file=sub/vmlinuz";
    bench.fails(&format!("{PUBLISH} {NAMED} {twice}"), 3, &["two artifacts are called vmlinuz"]);
    let inside = "--artifact kernel=vmlinuz --artifact file:vmlinuz/x=sub/vmlinuz";
    bench.fails(&format!("{PUBLISH} {NAMED} {inside}"), 3, &["vmlinuz/x"]);
    bench.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=missing"), 3, &["missing", "No such file"]);
    bench.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=sub"), 3, &["sub", "not a regular file"]);
    bench.fails(&format!("{PUBLISH} {NAMED} --dir missing"), 3, &["missing", "No such file"]);
    bench.fails(&format!("{PUBLISH} {NAMED}"), 2, &["no artifacts"]);
    bench.fails(&format!("{PUBLISH} {NAMED} --artifact vmlinuz"), 2, &["ROLE=PATH"]);
    bench.fails(&format!("{PUBLISH} --artifact kernel=vmlinuz"), 2, &["--channel"]);
    bench.fails(&format!("{PUBLISH} {NAMED} --artifact kernel=vmlinuz --url ftp://x"), 3, &["http"]);
    assert!(!bench.path("store/refs/stable").exists() && names(&bench.path("store/artifacts")).is_empty());
}

#[test]
fn a_file_that_is_referred_to_is_refused_once_it_has_changed() {
    let bench = Bench::with_root();
    let path = bench.file("image", 400_000);
    let release = bench.json(&format!("{PUBLISH} {NAMED} --artifact rootfs=image --reference"));
    let cid = release["artifacts"][0]["cid"].as_str().unwrap().to_owned();
    let state = || bench.json(&format!("inspect {cid} --store store"))["stored"].clone();
    assert_eq!((&state()["state"], &state()["path"]), (&"complete".into(), &path.to_str().unwrap().into()));
    assert!(names(&bench.path("store/artifacts")).iter().all(|name| name.ends_with(".seal")), "it was copied");
    bench.file("image", 400_001);
    assert_eq!(state()["state"], "damaged");
    assert!(state()["error"].as_str().unwrap().contains("changed"), "{}", state());
}
