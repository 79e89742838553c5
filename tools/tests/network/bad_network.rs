//! When the network, a peer or the disk lets a fetch down, it says what and why, and never leaves bad bytes under a
//! good name.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bench::{Bench, names};
use super::process::{Process, binary};
use super::setting::{NAME, Setting, allocated, assert_same, cid, fails, json};

#[test]
fn an_unreachable_bootstrap_node_is_named() {
    let bench = Bench::with_root();
    let peer = "12D3KooWJYYiTiUC18Q5aMTuBVKfBDDMDWpt24XU5GawSn3KRx6C";
    let address =
        |listener: &TcpListener| format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", listener.local_addr().unwrap().port());
    let resolve = format!("resolve {NAME} --root root.cbor --json --bootstrap");

    // Somebody who says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = format!("{resolve} {}", address(&silent));
    fails(bench.command(&words), 5, &["nobody can be reached", &address(&silent)]);

    // A port that nobody has any more.
    let address = address(&TcpListener::bind("127.0.0.1:0").unwrap());
    let fetch = format!("fetch {NAME} --root root.cbor --store store --json --bootstrap");
    for words in [resolve, fetch] {
        fails(bench.command(&format!("{words} {address}")), 5, &["nobody can be reached", &address]);
    }
    bench.fails(&format!("providers {NAME} --bootstrap {address}"), 5, &["nobody can be reached", &address]);
    let mut client = binary("phase-client");
    client.args(["fetch", NAME, "--json", "--bootstrap", &address, "--root"]).arg(bench.path("root.cbor"));
    client.arg("--store").arg(bench.path("client")).env_clear().env("PHASE_NO_MDNS", "1");
    fails(client, 5, &["nobody can be reached", &address]);
}

#[test]
fn a_name_that_nobody_publishes_is_not_found() {
    let setting = Setting::new();
    fails(setting.fetch("client"), 4, &["nothing is published as stable/x86_64"]);
    fails(setting.client_fetch("small-client"), 4, &["nothing is published as stable/x86_64"]);
    // Others being there makes no difference.
    setting.bench.file("image", 10_000);
    setting.publish("store", "--artifact rootfs=image");
    let _provider = setting.provide("store");
    let other = "fetch edge/x86_64 --root root.cbor --store client --json";
    fails(setting.phase(other), 4, &["nothing is published as edge/x86_64"]);
}

#[test]
fn a_release_with_too_few_signatures_is_refused_before_anything_is_fetched() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    setting.publish("store", "--artifact rootfs=image");
    let provider = setting.provide("store");
    setting.bench.ok("key new b.key");
    setting.bench.ok("root new --channel stable --key a.key --key b.key --threshold 2 -o strict.cbor");
    let words = format!("fetch {NAME} --root strict.cbor --store client --output client.out --json");
    fails(setting.phase(&words), 6, &["1 of 2 required signatures", &provider.peer]);
    fails(setting.phase(&format!("resolve {NAME} --root strict.cbor --json")), 6, &["1 of 2 required signatures"]);
    assert!(names(&setting.bench.path("client/artifacts")).is_empty());
    assert!(!setting.bench.path("client.out").exists());
}

#[test]
fn a_release_of_a_publisher_that_is_not_trusted_is_refused() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    setting.publish("store", "--artifact rootfs=image");
    let _provider = setting.provide("store");
    setting.bench.ok("key new other.key");
    setting.bench.ok("root new --channel stable --key other.key -o other.cbor");
    let words = format!("fetch {NAME} --root other.cbor --store client --json");
    fails(setting.phase(&words), 6, &["0 of 1 required signatures"]);
}

#[test]
fn the_version_never_goes_back() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    setting.publish("old", "--artifact rootfs=image");
    setting.publish("new", "--artifact rootfs=image --version 7");
    let new = setting.provide("new");
    assert_eq!(json(setting.fetch("client"))["version"], 7);
    assert_eq!(new.process.stop().code, 0);
    let _old = setting.provide("old");
    fails(setting.fetch("client"), 6, &["rollback refused", "version 1", "version 7"]);
}

/// Spoils a file that a provider has announced.
type Damage = fn(&Path);

/// What can happen to a file.
const DAMAGES: [(&str, Damage); 2] = [("truncated", truncate), ("swapped", swap)];

fn truncate(path: &Path) {
    let half = path.metadata().unwrap().len() / 2;
    make_writable(path);
    OpenOptions::new().write(true).open(path).unwrap().set_len(half).unwrap();
}

/// Another file of the same size takes its place.
fn swap(path: &Path) {
    let len = path.metadata().unwrap().len();
    fs::remove_file(path).unwrap();
    fs::write(path, vec![0x5a; len as usize]).unwrap();
}

fn make_writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Where a store keeps the first artifact of a release.
fn stored(setting: &Setting, store: &str, release: &Value) -> PathBuf {
    setting.bench.path(&format!("{store}/artifacts/{}", release["artifacts"][0]["cid"].as_str().unwrap()))
}

#[test]
fn what_the_only_provider_has_lost_is_an_error_and_never_wrong_bytes() {
    for (what, damage) in DAMAGES {
        let setting = Setting::new();
        setting.bench.file("image", 3_000_000);
        let release = setting.publish("store", "--artifact rootfs=image");
        let provider = setting.provide("store");
        // Opened and served once, so that nothing of what follows depends on its being opened afresh.
        json(setting.fetch("before"));
        damage(&stored(&setting, "store", &release));
        let mut fetch = setting.fetch("client");
        fetch.args(["--give-up-after", "15s"]);
        fails(fetch, 5, &["chunks missing"]);
        assert!(!setting.fetched("client", "image").exists(), "{what}: a file with holes");
        assert!(!stored(&setting, "client", &release).exists(), "{what}: bad bytes under a good name");
        // The provider says so, and stays up.
        let end = provider.process.stop();
        assert_eq!(end.code, 0);
        assert!(end.stderr.contains("damaged") && end.stderr.contains("cannot serve"), "{what}: {}", end.stderr);
    }
}

#[test]
fn what_one_of_two_providers_has_lost_comes_from_the_other() {
    for (what, damage) in DAMAGES {
        let setting = Setting::new();
        setting.bench.file("image", 8_000_000);
        let release = setting.publish("good", "--artifact rootfs=image");
        let good = setting.provide("good");
        // Without a second name for the file, by which it would live on for whoever has it open.
        json(setting.phase(&format!("fetch {NAME} --root root.cbor --store bad --json")));
        let bad = setting.provide("bad");
        damage(&stored(&setting, "bad", &release));
        let report = json(setting.fetch("client"));
        assert_same(&setting.fetched("client", "image"), &setting.bench.path("image"));
        let bytes = |peer: &str| {
            let peers = report["peers"].as_array().unwrap();
            peers.iter().find(|row| row["peer"] == peer).map_or(0, |row| row["bytes"].as_u64().unwrap())
        };
        assert_eq!((bytes(&good.peer), bytes(&bad.peer)), (8_000_000, 0), "{what}: {report:#}");
    }
}

/// A file system of that size in a namespace of its own, as long as the process lives.
///
/// Files in it are reached from outside through the process; nothing else on the machine sees it. `None` where the
/// system does not permit that.
fn small_disk(bench: &Bench, bytes: u64) -> Option<(Process, PathBuf)> {
    let mount = bench.path("disk");
    fs::create_dir(&mount).unwrap();
    let script = format!("mount -t tmpfs -o size={bytes} phase \"$0\" && echo ready && exec cat || echo refused");
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).arg(&mount);
    if !Command::new("unshare").args(["--user", "--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut holder = Process::start(&mut unshare);
    let is_ready = holder.line(|line| Some(line == "ready"));
    let path = PathBuf::from(format!("/proc/{}/root", holder.pid())).join(mount.strip_prefix("/").unwrap());
    is_ready.then_some((holder, path))
}

#[test]
fn a_full_disk_is_named_and_the_fetch_resumes_when_there_is_space() {
    const SIZE: u64 = 16 << 20;
    let setting = Setting::new();
    setting.bench.file("image", SIZE as usize);
    setting.bench.file("other", 1 << 20);
    let release = setting.publish("store", "--artifact rootfs=image --artifact dtb=other");
    let [image, other] = ["image", "other"].map(|file| cid(&release, file));
    // However fast the fetch is, it has not ended when the disk is full: one artifact is nowhere until then.
    let at = setting.bench.path(&format!("store/artifacts/{other}"));
    let aside = setting.bench.path("aside");
    fs::rename(&at, &aside).unwrap();
    let _provider = setting.provide("store");
    let Some((_holder, disk)) = small_disk(&setting.bench, SIZE + (9 << 20)) else {
        // No small disk here: at least one that takes nothing at all.
        fails(setting.fetch("/proc/phase"), 7, &["/proc/phase"]);
        return;
    };
    let store = disk.join("store").display().to_string();
    let whole = disk.join(format!("store/artifacts/{image}"));
    let part = whole.with_extension("part");

    // Others fill it while a fetch is under way.
    let mut fetch = Process::start(&mut setting.fetch(&store));
    fetch.until("the first bytes", || allocated(&part) >= 2 << 20 || whole.exists());
    fetch.signal(Signal::STOP);
    let ballast = disk.join("ballast");
    fill(&ballast);
    fs::rename(&aside, &at).unwrap();
    fetch.signal(Signal::CONT);
    let end = fetch.end();
    assert_eq!(end.code, 7, "{}{}", end.stdout, end.stderr);
    let parts = [&part, &disk.join(format!("store/artifacts/{other}.part"))].map(|part| part.display().to_string());
    assert!(parts.iter().any(|part| end.stderr.contains(part)), "{}", end.stderr);
    assert!(end.stderr.contains("no space left"), "{}", end.stderr);

    // Nothing is begun that cannot be ended: what is needed is said beforehand.
    fails(setting.fetch(&store), 7, &["store/artifacts/", ".part", "no space left", "needs"]);

    fs::remove_file(ballast).unwrap();
    let mut again = setting.phase(&format!("fetch {NAME} --root root.cbor --json --store {store}"));
    again.arg("--output").arg(setting.bench.path("out"));
    let report = json(again);
    assert!(report["resumed_bytes"].as_u64() >= Some(1 << 20), "{report:#}");
    assert_same(&setting.bench.path("out/image"), &setting.bench.path("image"));
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    // Down to single pages, since a chunk may need only one.
    for block in [1 << 20, 4 << 10] {
        while file.write_all(&vec![1; block]).is_ok() {}
    }
}
