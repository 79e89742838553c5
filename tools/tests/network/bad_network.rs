//! If the network, a peer or the disk makes a fetch fail, the error names the cause, and no file with wrong bytes gets
//! its final name.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{Process, binary};
use super::sandbox::{Sandbox, names};
use super::test_network::{NAME, TestNetwork, allocated, assert_same, cid, fails, json, run};

#[test]
fn the_error_names_an_unreachable_bootstrap_peer() {
    let sandbox = Sandbox::with_root();
    let peer = "12D3KooWJYYiTiUC18Q5aMTuBVKfBDDMDWpt24XU5GawSn3KRx6C";
    let address =
        |listener: &TcpListener| format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", listener.local_addr().unwrap().port());
    let resolve = format!("resolve {NAME} --root root.cbor --json --bootstrap");

    // A listener that accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = format!("{resolve} {}", address(&silent));
    fails(sandbox.command(&words), 5, &["no peer can be reached", &address(&silent)]);

    // The listeners are dropped at once, so no process listens on their ports.
    let unused = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, other] = unused.map(|listener| address(&listener));
    let fetch = format!("fetch {NAME} --root root.cbor --store store --json --bootstrap");
    for words in [resolve, fetch] {
        fails(sandbox.command(&format!("{words} {address}")), 5, &["no peer can be reached", &address]);
    }
    sandbox.fails(&format!("providers {NAME} --bootstrap {address}"), 5, &["no peer can be reached: 1 was tried"]);
    // The error as text has one line for each peer.
    let run = sandbox.run(&format!("providers {NAME} --bootstrap {address},{other}"));
    let expected = format!(
        "error: no peer can be reached: 1 was tried\n  {peer}  2 addresses: connection refused\nhint: check that the \
         peer is running and that this machine can reach its port; run with -v to see each address\n"
    );
    assert_eq!((run.code, run.stderr), (5, expected));
    let mut client = binary("phase-client");
    client.args(["fetch", NAME, "--json", "--bootstrap", &address, "--root"]).arg(sandbox.path("root.cbor"));
    client.arg("--store").arg(sandbox.path("client")).env_clear().env("PHASE_NO_MDNS", "1");
    fails(client, 5, &["no peer can be reached", &address]);
}

#[test]
fn a_name_that_is_not_published_is_not_found() {
    let network = TestNetwork::new();
    fails(network.fetch("client"), 4, &["nothing is published as stable/x86_64"]);
    fails(network.client_fetch("small-client"), 4, &["nothing is published as stable/x86_64"]);
    // A name is also not found if the only provider serves another name.
    network.sandbox.file("image", 10_000);
    network.publish("store", "--artifact rootfs=image");
    let _provider = network.provide("store");
    let other = "fetch edge/x86_64 --root root.cbor --store client --json";
    fails(network.phase(other), 4, &["nothing is published as edge/x86_64"]);
}

#[test]
fn a_release_with_too_few_signatures_is_refused_before_the_download() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    network.publish("store", "--artifact rootfs=image");
    let provider = network.provide("store");
    network.sandbox.ok("key new b.key");
    network.sandbox.ok("root new --channel stable --key a.key --key b.key --threshold 2 -o strict.cbor");
    let words = format!("fetch {NAME} --root strict.cbor --store client --output client.out --json");
    fails(network.phase(&words), 6, &["1 of 2 required signatures", &provider.peer]);
    fails(network.phase(&format!("resolve {NAME} --root strict.cbor --json")), 6, &["1 of 2 required signatures"]);
    assert!(names(&network.sandbox.path("client/artifacts")).is_empty());
    assert!(!network.sandbox.path("client.out").exists());
}

#[test]
fn a_release_of_an_untrusted_publisher_is_refused() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    network.publish("store", "--artifact rootfs=image");
    let _provider = network.provide("store");
    network.sandbox.ok("key new other.key");
    network.sandbox.ok("root new --channel stable --key other.key -o other.cbor");
    let words = format!("fetch {NAME} --root other.cbor --store client --json");
    fails(network.phase(&words), 6, &["0 of 1 required signatures"]);
}

#[test]
fn a_client_refuses_a_version_below_the_version_in_its_store() {
    let network = TestNetwork::new();
    network.sandbox.file("image", 10_000);
    network.publish("old", "--artifact rootfs=image");
    network.publish("new", "--artifact rootfs=image --version 7");
    let new = network.provide("new");
    assert_eq!(json(network.fetch("client"))["version"], 7);
    assert_eq!(new.process.stop().code, 0);
    let _old = network.provide("old");
    fails(network.fetch("client"), 6, &["rollback refused", "version 1", "version 7"]);
}

/// A function that damages the file of an artifact that a provider has announced.
type Damage = fn(&Path);

/// The kinds of damage that the tests do to a file.
const DAMAGES: [(&str, Damage); 2] = [("truncated", truncate), ("swapped", swap)];

fn truncate(path: &Path) {
    let half = path.metadata().unwrap().len() / 2;
    make_writable(path);
    OpenOptions::new().write(true).open(path).unwrap().set_len(half).unwrap();
}

/// Replaces a file with a file of the same size and other bytes.
fn swap(path: &Path) {
    let len = path.metadata().unwrap().len();
    fs::remove_file(path).unwrap();
    fs::write(path, vec![0x5a; len as usize]).unwrap();
}

fn make_writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns the path of the first artifact of a release in a store.
fn stored(network: &TestNetwork, store: &str, release: &Value) -> PathBuf {
    network.sandbox.path(&format!("{store}/artifacts/{}", release["artifacts"][0]["cid"].as_str().unwrap()))
}

#[test]
fn a_damaged_artifact_of_the_only_provider_is_an_error_and_writes_no_file() {
    for (what, damage) in DAMAGES {
        let network = TestNetwork::new();
        network.sandbox.file("image", 3_000_000);
        let release = network.publish("store", "--artifact rootfs=image");
        let mut provider = network.provide("store");
        // The provider opens and serves the file once, so that the test covers damage to a file that is already open.
        json(network.fetch("before"));
        damage(&stored(&network, "store", &release));
        // Until the provider has noticed that a file was removed, it serves the right bytes from the open file.
        provider.process.line(|line| line.starts_with("withdrawn ").then_some(()));
        let mut fetch = network.fetch("client");
        fetch.args(["--give-up-after", "15s"]);
        let end = run(fetch);
        // Either the name is withdrawn everywhere by now, or the release is found and no provider has the artifact.
        assert!([4, 5].contains(&end.code), "{what}: {} {}", end.code, end.stderr);
        assert!(!network.fetched("client", "image").exists(), "{what}: an incomplete file was exported");
        assert!(!stored(&network, "client", &release).exists(), "{what}: wrong bytes were stored as complete");
        // The provider logs the damage and keeps running.
        let end = provider.process.stop();
        assert_eq!(end.code, 0);
        assert!(end.stderr.contains("damaged") && end.stderr.contains("cannot serve"), "{what}: {}", end.stderr);
    }
}

#[test]
fn a_damaged_artifact_of_one_provider_is_fetched_from_the_other() {
    for (what, damage) in DAMAGES {
        let network = TestNetwork::new();
        network.sandbox.file("image", 8_000_000);
        let release = network.publish("good", "--artifact rootfs=image");
        let good = network.provide("good");
        // The fetch has no `--output`, so the artifact in the store `bad` shares its bytes with no exported file.
        json(network.phase(&format!("fetch {NAME} --root root.cbor --store bad --json")));
        let mut bad = network.provide("bad");
        damage(&stored(&network, "bad", &release));
        bad.process.line(|line| line.starts_with("withdrawn ").then_some(()));
        let report = json(network.fetch("client"));
        assert_same(&network.fetched("client", "image"), &network.sandbox.path("image"));
        let bytes = |peer: &str| {
            let peers = report["peers"].as_array().unwrap();
            peers.iter().find(|row| row["peer"] == peer).map_or(0, |row| row["bytes"].as_u64().unwrap())
        };
        assert_eq!((bytes(&good.peer), bytes(&bad.peer)), (8_000_000, 0), "{what}: {report:#}");
    }
}

/// Mounts a file system of `bytes` bytes in a new mount namespace. The namespace exists as long as the returned process
/// runs.
///
/// The returned path leads to the file system through `/proc`. Other processes do not see the mount. Returns `None` if
/// the system does not permit a mount namespace.
fn small_disk(sandbox: &Sandbox, bytes: u64) -> Option<(Process, PathBuf)> {
    let mount = sandbox.path("disk");
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
fn the_error_names_a_full_disk_and_the_fetch_resumes_when_there_is_space() {
    const SIZE: u64 = 16 << 20;
    let network = TestNetwork::new();
    network.sandbox.file("image", SIZE as usize);
    network.sandbox.file("other", 1 << 20);
    let release = network.publish("store", "--artifact rootfs=image --artifact dtb=other");
    let [image, other] = ["image", "other"].map(|file| cid(&release, file));
    // The provider lacks the artifact `other` until the disk is full, so that even a fast fetch cannot end before that.
    let at = network.sandbox.path(&format!("store/artifacts/{other}"));
    let aside = network.sandbox.path("aside");
    fs::rename(&at, &aside).unwrap();
    let _provider = network.provide("store");
    let Some((_holder, disk)) = small_disk(&network.sandbox, SIZE + (9 << 20)) else {
        // If no small disk can be mounted, the test uses a folder in which no file can be created.
        fails(network.fetch("/proc/phase"), 7, &["/proc/phase"]);
        return;
    };
    let store = disk.join("store").display().to_string();
    let whole = disk.join(format!("store/artifacts/{image}"));
    let part = whole.with_extension("part");

    // The test fills the disk while a fetch is running. SIGSTOP pauses the fetch until the disk is full.
    let without_output = || network.phase(&format!("fetch {NAME} --root root.cbor --json --store {store}"));
    let mut fetch = Process::start(&mut without_output());
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

    // A new fetch checks the free disk space before it begins, and its error says how many bytes it needs.
    fails(without_output(), 7, &["not enough RAM", "needs", "can be used"]);

    fs::remove_file(ballast).unwrap();
    let mut again = without_output();
    again.arg("--output").arg(network.sandbox.path("out"));
    let report = json(again);
    assert!(report["resumed_bytes"].as_u64() >= Some(1 << 20), "{report:#}");
    assert_same(&network.sandbox.path("out/image"), &network.sandbox.path("image"));
}

/// Fills the disk by writing to a new file.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    // Write large blocks first, then single pages, because a chunk may need only one page.
    for block in [1 << 20, 4 << 10] {
        while file.write_all(&vec![1; block]).is_ok() {}
    }
}
