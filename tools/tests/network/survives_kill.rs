//! SIGKILL at any moment costs nothing but time.
//!
//! Moments are random, counted in bytes of progress. A failing run prints its seed; `PHASE_TEST_SEED` repeats it, as far
//! as processes can be repeated.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::bench::Run;
use super::process::{Process, until};
use super::setting::{NAME, Setting, allocated, assert_same, json};

/// Times the fetching client is killed.
const KILLS: u64 = 50;
/// The artifact: large enough that every run can make some progress before it is killed.
const IMAGE: u64 = 96 << 20;
/// Chunks that may be half written when the process is killed, in bytes: one in each of four writers, each of at most
/// 512 KiB.
const HALF_WRITTEN: u64 = 2 << 20;

fn seeded() -> fastrand::Rng {
    let seed = std::env::var("PHASE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    // Shown when the test fails.
    println!("PHASE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn a_client_that_is_killed_fifty_times_resumes_each_time() {
    let mut random = seeded();
    let setting = Setting::new();
    setting.bench.file("image", IMAGE as usize);
    let release = setting.publish("store", "--artifact rootfs=image");
    let artifact = &release["artifacts"][0];
    let part_in =
        |store: &str| setting.bench.path(&format!("{store}/artifacts/{}.part", artifact["cid"].as_str().unwrap()));
    let check_image = |store: &str| {
        let image = setting.fetched(store, "image");
        assert_eq!(sha256(&image), artifact["sha256"].as_str().unwrap());
        assert_same(&image, &setting.bench.path("image"));
    };
    let _provider = setting.provide("store");

    // The store that is fetched into, and what its last run found there.
    let (mut client, mut resumed) = (1, 0);
    let mut resumptions = 0;
    for kill in 0..KILLS {
        let store = format!("client-{client}");
        let part = part_in(&store);
        let before = allocated(&part);
        // So much that on average the last kill comes when nearly all is there.
        let step = random.u64(0..=2 * (IMAGE - before) / (KILLS - kill + 1));
        let mut command = setting.fetch(&store);
        command.arg("--verbose");
        let mut fetch = Process::start(&mut command);
        until("progress", || allocated(&part) >= before + step || !fetch.is_running());
        let end = fetch.kill();
        if let Some(now) = resumed_bytes(&end) {
            println!("run {kill}: {now} bytes were there, {} on disk when it was killed", allocated(&part));
            assert!(now + HALF_WRITTEN >= before, "run {kill}: of {before} bytes on disk only {now} were used");
            assert!(now >= resumed, "run {kill}: {now} bytes were there, and {resumed} before");
            resumed = now;
            resumptions += 1;
        }
        match end.code {
            -1 => {}
            // Faster than the kill: the next one begins anew.
            0 => {
                check_image(&store);
                (client, resumed) = (client + 1, 0);
            }
            code => panic!("run {kill} ended with {code}: {}", end.stderr),
        }
    }
    // One that is killed at the very beginning has not looked yet.
    assert!(resumptions > KILLS / 2, "only {resumptions} of {KILLS} runs resumed");

    let store = format!("client-{client}");
    let before = allocated(&part_in(&store));
    let report = json(setting.fetch(&store));
    let there = report["resumed_bytes"].as_u64().unwrap();
    assert!(there >= resumed && there + HALF_WRITTEN >= before, "{there} of {before}");
    check_image(&store);
}

/// What a run said about what it found.
fn resumed_bytes(run: &Run) -> Option<u64> {
    let line = run.stderr.lines().find(|line| line.contains("resumed"))?;
    line.split_once("bytes=")?.1.split_whitespace().next()?.parse().ok()
}

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

/// Times a publisher is killed.
const PUBLISH_KILLS: usize = 24;

#[test]
fn a_publisher_that_is_killed_leaves_a_store_that_claims_only_what_it_can_serve() {
    let mut random = seeded();
    let setting = Setting::new();
    setting.publish("store", &content(&setting, 0));
    let mut seen = [0, 0];
    for kill in 1..=PUBLISH_KILLS {
        let words = content(&setting, kill);
        let size: u64 = files(&setting, kill).iter().map(|path| path.metadata().unwrap().len()).sum();
        let held = version(&setting);
        let before = on_disk(&setting.bench.path("store"));
        // A little more than all of it, so that the last steps are hit as well.
        let step = random.u64(0..=size + size / 8);
        let signing = "--store store --root root.cbor --key a.key --channel stable --arch x86_64";
        let mut publish = Process::start(&mut setting.bench.command(&format!("publish {signing} {words}")));
        until("progress", || on_disk(&setting.bench.path("store")) >= before + step || !publish.is_running());
        publish.kill();

        let now = version(&setting);
        assert!(now == held || now == held + 1, "kill {kill}: version {now} after {held}");
        seen[usize::from(now > held)] += 1;
        // `inspect` opens, and with it verifies, every artifact that the ref leads to.
        let pointer = setting.bench.json("inspect store/refs/stable/x86_64");
        let manifest = setting.bench.json(&format!("inspect {} --store store", pointer["manifest"].as_str().unwrap()));
        for artifact in manifest["artifacts"].as_array().unwrap() {
            assert_eq!(artifact["stored"]["state"], "complete", "kill {kill}: {artifact:#}");
        }
    }
    println!("{} releases were lost, {} visible in spite of the kill", seen[0], seen[1]);
    assert!(seen[0] > 0, "no kill came in time");

    // A provider serves it, and what is published now is served as well.
    let mut provider = setting.provide("store");
    let report = json(setting.fetch("client"));
    assert_eq!(report["version"], version(&setting));
    let kill = report["release"].as_str().unwrap().parse().unwrap();
    check(&setting, "client", kill);
    let last = PUBLISH_KILLS + 1;
    let release = setting.publish("store", &content(&setting, last));
    until("the last release", || {
        provider.announced();
        json(setting.phase(&format!("resolve {NAME} --root root.cbor --json")))["manifest"] == release["manifest"]
    });
    assert_eq!(json(setting.fetch("client"))["manifest"], release["manifest"]);
    check(&setting, "client", last);
    let left = super::bench::names(&setting.bench.path("store/tmp"));
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Makes the files of a release; returns the words that publish them.
fn content(setting: &Setting, number: usize) -> String {
    // Different lengths make different bytes.
    setting.bench.file(&format!("{number}/image"), 4_000_000 + number);
    for small in 0..8 {
        setting.bench.file(&format!("{number}/small/{small}"), 1000 * (small + 1) + number);
    }
    format!("--dir {number} --release {number}")
}

fn files(setting: &Setting, number: usize) -> Vec<PathBuf> {
    let small = (0..8).map(|small| format!("{number}/small/{small}"));
    small.chain([format!("{number}/image")]).map(|name| setting.bench.path(&name)).collect()
}

#[track_caller]
fn check(setting: &Setting, store: &str, number: usize) {
    let folder = setting.bench.path(&number.to_string());
    for path in files(setting, number) {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        assert_same(&setting.fetched(store, name), &path);
    }
}

fn version(setting: &Setting) -> u64 {
    setting.bench.json("inspect store/refs/stable/x86_64")["version"].as_u64().unwrap()
}

/// How much a folder takes, in bytes.
fn on_disk(folder: &Path) -> u64 {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    // What is gone in the meantime counts nothing.
    entries.map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { allocated(&entry.path()) }).sum()
}
