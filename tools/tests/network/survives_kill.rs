//! A client or publisher can be killed by SIGKILL at any moment. Its store stays valid, and the next run continues.
//!
//! A process is killed after a random number of bytes of progress. A failing run prints its RNG seed. `PHASE_TEST_SEED`
//! repeats the run with that RNG seed, but the timing of the processes may still differ.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::process::{Process, until};
use super::sandbox::Run;
use super::test_network::{NAME, TestNetwork, allocated, assert_same, json};

/// The number of times that the fetching client is killed.
const KILLS: u64 = 50;
/// The size of the artifact. It is large enough that every run can make some progress before the kill.
const IMAGE: u64 = 96 << 20;
/// The number of bytes that one kill may lose. Two jobs may each be writing 8 chunks, which have 128 KiB on average.
const HALF_WRITTEN: u64 = 2 << 20;

/// Returns a random number generator with the RNG seed in `PHASE_TEST_SEED`, or with a random RNG seed.
fn seeded() -> fastrand::Rng {
    let seed = std::env::var("PHASE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    // The test harness prints this line if the test fails.
    println!("PHASE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn a_client_that_is_killed_fifty_times_resumes_without_losing_chunks() {
    let mut random = seeded();
    let network = TestNetwork::new();
    network.sandbox.file("image", IMAGE as usize);
    let release = network.publish("store", "--artifact rootfs=image");
    let artifact = &release["artifacts"][0];
    let part_in =
        |store: &str| network.sandbox.path(&format!("{store}/artifacts/{}.part", artifact["cid"].as_str().unwrap()));
    let check_image = |store: &str| {
        let image = network.fetched(store, "image");
        assert_eq!(sha256(&image), artifact["sha256"].as_str().unwrap());
        assert_same(&image, &network.sandbox.path("image"));
    };
    let _provider = network.provide("store");

    // `client` is the number of the client's store. `resumed` is the number of bytes that the last run found in that
    // store.
    let (mut client, mut resumed) = (1, 0);
    let mut resumptions = 0;
    for kill in 0..KILLS {
        let store = format!("client-{client}");
        let part = part_in(&store);
        let before = allocated(&part);
        // Each run fetches a random number of bytes before the kill. On average, nearly the whole artifact is fetched
        // at the last kill.
        let step = random.u64(0..=2 * (IMAGE - before) / (KILLS - kill + 1));
        let mut command = network.fetch(&store);
        command.arg("--verbose");
        let mut fetch = Process::start(&mut command);
        until("progress", || allocated(&part) >= before + step || !fetch.is_running());
        let end = fetch.kill();
        if let Some(now) = resumed_bytes(&end) {
            println!("run {kill}: resumed {now} bytes, {} on disk when it was killed", allocated(&part));
            assert!(now + HALF_WRITTEN >= before, "run {kill}: resumed only {now} of {before} bytes on disk");
            assert!(now >= resumed, "run {kill}: resumed {now} bytes, but the run before {resumed}");
            resumed = now;
            resumptions += 1;
        }
        match end.code {
            -1 => {}
            // The fetch ended before the kill, so the next run uses a new store.
            0 => {
                check_image(&store);
                (client, resumed) = (client + 1, 0);
            }
            code => panic!("run {kill} ended with {code}: {}", end.stderr),
        }
    }
    // Runs that are killed very early do not resume, so only more than half of all runs must have resumed.
    assert!(resumptions > KILLS / 2, "only {resumptions} of {KILLS} runs resumed");

    let store = format!("client-{client}");
    let before = allocated(&part_in(&store));
    let report = json(network.fetch(&store));
    let last = report["resumed_bytes"].as_u64().unwrap();
    assert!(last >= resumed && last + HALF_WRITTEN >= before, "resumed {last} of {before} bytes");
    check_image(&store);
}

/// Returns the number of resumed bytes from the log of a run, or `None` if the run was killed before it logged the
/// number.
fn resumed_bytes(run: &Run) -> Option<u64> {
    let line = run.stderr.lines().find(|line| line.contains("resumed"))?;
    line.split_once("bytes=")?.1.split_whitespace().next()?.parse().ok()
}

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

/// The number of times that the publisher is killed.
const PUBLISH_KILLS: usize = 24;

#[test]
fn a_killed_publisher_leaves_a_store_that_can_serve_its_current_release() {
    let mut random = seeded();
    let network = TestNetwork::new();
    network.publish("store", &content(&network, 0));
    let mut seen = [0, 0];
    for kill in 1..=PUBLISH_KILLS {
        let words = content(&network, kill);
        let size: u64 = files(&network, kill).iter().map(|path| path.metadata().unwrap().len()).sum();
        let held = version(&network);
        let before = on_disk(&network.sandbox.path("store"));
        // The step may be a little larger than the release, so that some kills hit the last steps of publishing.
        let step = random.u64(0..=size + size / 8);
        let signing = "--store store --root root.cbor --key a.key --channel stable --arch x86_64";
        let mut publish = Process::start(&mut network.sandbox.command(&format!("publish {signing} {words}")));
        until("progress", || on_disk(&network.sandbox.path("store")) >= before + step || !publish.is_running());
        publish.kill();

        let now = version(&network);
        assert!(now == held || now == held + 1, "kill {kill}: version {now} after {held}");
        seen[usize::from(now > held)] += 1;
        // `inspect` opens and checks every artifact of the release that the ref names.
        let pointer = network.sandbox.json("inspect store/refs/stable/x86_64");
        let manifest =
            network.sandbox.json(&format!("inspect {} --store store", pointer["manifest"].as_str().unwrap()));
        for artifact in manifest["artifacts"].as_array().unwrap() {
            assert_eq!(artifact["stored"]["state"], "complete", "kill {kill}: {artifact:#}");
        }
    }
    println!("{} releases were lost by the kill, {} were published", seen[0], seen[1]);
    assert!(seen[0] > 0, "every release was published before the kill");

    // A provider can serve the store after the last kill. It also serves a release that is published while it runs.
    let mut provider = network.provide("store");
    let report = json(network.fetch("client"));
    assert_eq!(report["version"], version(&network));
    let kill = report["release"].as_str().unwrap().parse().unwrap();
    check(&network, "client", kill);
    let last = PUBLISH_KILLS + 1;
    let release = network.publish("store", &content(&network, last));
    until("the last release", || {
        provider.announced();
        json(network.phase(&format!("resolve {NAME} --root root.cbor --json")))["manifest"] == release["manifest"]
    });
    assert_eq!(json(network.fetch("client"))["manifest"], release["manifest"]);
    check(&network, "client", last);
    let left = super::sandbox::names(&network.sandbox.path("store/tmp"));
    assert!(left.is_empty(), "temporary files are left: {left:?}");
}

/// Makes the files of a release, and returns the options that publish them.
fn content(network: &TestNetwork, number: usize) -> String {
    // The bytes of a file depend on its length, so each release has different bytes.
    network.sandbox.file(&format!("{number}/image"), 4_000_000 + number);
    for small in 0..8 {
        network.sandbox.file(&format!("{number}/small/{small}"), 1000 * (small + 1) + number);
    }
    format!("--dir {number} --release {number}")
}

fn files(network: &TestNetwork, number: usize) -> Vec<PathBuf> {
    let small = (0..8).map(|small| format!("{number}/small/{small}"));
    small.chain([format!("{number}/image")]).map(|name| network.sandbox.path(&name)).collect()
}

#[track_caller]
fn check(network: &TestNetwork, store: &str, number: usize) {
    let folder = network.sandbox.path(&number.to_string());
    for path in files(network, number) {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        assert_same(&network.fetched(store, name), &path);
    }
}

fn version(network: &TestNetwork) -> u64 {
    network.sandbox.json("inspect store/refs/stable/x86_64")["version"].as_u64().unwrap()
}

/// Returns how many bytes on disk the files in a folder and its subfolders use.
fn on_disk(folder: &Path) -> u64 {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    // A file that is deleted in the meantime counts as 0 bytes.
    entries.map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { allocated(&entry.path()) }).sum()
}
