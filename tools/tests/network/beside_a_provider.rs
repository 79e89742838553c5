//! A store with a running provider stays usable for everybody else.

use super::process::Process;
use super::setting::{NAME, Provider, Setting, allocated, assert_same, cid, fails, json, run};

const RESOLVE: &str = "resolve stable/x86_64 --root root.cbor --json";

#[test]
fn a_release_published_beside_a_provider_is_noticed_without_restart() {
    let setting = Setting::new();
    setting.bench.file("old", 400_000);
    setting.bench.file("new", 900_000);
    setting.publish("store", "--artifact kernel=old");
    let mut provider = setting.provide("store");
    assert_eq!(json(setting.phase(RESOLVE))["content"]["version"], 1);

    let release = setting.publish("store", "--artifact kernel=old --artifact rootfs=new");
    assert_eq!(release["version"], 2);
    // Three keys of the name, manifest, two artifacts.
    while provider.announced() < 6 {}
    let found = json(setting.phase(RESOLVE));
    assert_eq!((&found["content"]["version"], &found["manifest"]), (&2.into(), &release["manifest"]));
    assert_eq!(json(setting.fetch("client"))["version"], 2);
    assert_same(&setting.fetched("client", "new"), &setting.bench.path("new"));
}

#[test]
fn what_is_fetched_beside_a_provider_is_served_by_it() {
    let setting = Setting::new();
    setting.bench.file("image", 3_000_000);
    setting.publish("origin", "--artifact rootfs=image");
    let origin = setting.provide("origin");
    let mut mirror = Provider::start(setting.provider("mirror"));
    json(setting.fetch("mirror"));
    assert_eq!(mirror.announced(), 5);

    // From here on only the mirror has it.
    assert_eq!(origin.process.stop().code, 0);
    let report = json(setting.client_fetch("client"));
    let peers: Vec<_> = report["peers"].as_array().unwrap().iter().map(|peer| peer["peer"].clone()).collect();
    assert_eq!(peers, [mirror.peer.as_str()]);
    assert_same(&setting.fetched("client", "image"), &setting.bench.path("image"));
}

#[test]
fn a_second_provider_is_refused_and_told_what_holds_the_lock() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    setting.publish("store", "--artifact rootfs=image");
    let first = setting.provide("store");
    let lock = setting.bench.path("store/provider.lock").display().to_string();
    let holder = format!("{}", first.process.pid());
    let second = || {
        let mut command = setting.provider("store");
        command.arg("--json");
        command
    };
    fails(second(), 7, &[&lock, &holder]);
    assert_eq!(json(setting.phase(RESOLVE))["content"]["version"], 1, "the first one was disturbed");
    // The lock goes with its process, even with one that could not clean up.
    first.process.kill();
    let mut third = Provider::start(setting.provider("store"));
    assert_eq!(third.announced(), 5);
}

#[test]
fn a_port_in_use_is_a_network_failure_that_names_the_address() {
    let setting = Setting::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    for words in ["", "--json"] {
        let mut command = setting.provider("store");
        command.args(["--listen", &address]).args(words.split_whitespace());
        let run = run(command);
        assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(&address) && run.stderr.contains("in use"), "{}", run.stderr);
        assert_eq!(run.stdout, "", "it said that it serves");
    }
    // The store is free again.
    Provider::start(setting.provider("store"));
    let mut command = setting.fetch("client");
    command.args(["--listen", &address]);
    fails(command, 5, &[&address]);
}

#[test]
fn a_provider_that_is_asked_to_stop_withdraws_what_it_announced() {
    let setting = Setting::new();
    setting.bench.file("image", 10_000);
    let release = setting.publish("store", "--artifact rootfs=image");
    let manifest = release["manifest"].as_str().unwrap();
    let provider = setting.provide("store");
    for key in [NAME, manifest] {
        let found = json(setting.phase(&format!("providers {key} --json")));
        assert_eq!((&found[0]["peer"], &found[0]["reachable"]), (&provider.peer.as_str().into(), &true.into()));
    }
    let end = provider.process.stop();
    assert_eq!((end.code, end.stderr.as_str()), (0, ""));
    let artifact = release["artifacts"][0]["cid"].as_str().unwrap();
    for key in [NAME, manifest, artifact] {
        fails(setting.phase(&format!("providers {key} --json")), 4, &[key]);
    }
    fails(setting.phase(RESOLVE), 4, &[NAME]);
    // It can come back.
    let _provider = setting.provide("store");
    assert_eq!(json(setting.phase(RESOLVE))["content"]["version"], 1);
}

#[test]
fn a_fetch_that_is_asked_to_stop_says_so_and_keeps_what_it_has() {
    let setting = Setting::new();
    setting.bench.file("image", 16 << 20);
    setting.bench.file("other", 1 << 20);
    let release = setting.publish("store", "--artifact rootfs=image --artifact dtb=other");
    let [image, other] = ["image", "other"].map(|file| cid(&release, file));
    // However fast it is, it cannot end: one artifact is nowhere.
    let at = setting.bench.path(&format!("store/artifacts/{other}"));
    let aside = setting.bench.path("aside");
    std::fs::rename(&at, &aside).unwrap();
    let _provider = setting.provide("store");
    let whole = setting.bench.path(&format!("client/artifacts/{image}"));
    let part = whole.with_extension("part");
    let mut fetch = Process::start(&mut setting.fetch("client"));
    fetch.until("the first bytes", || allocated(&part) >= 4 << 20 || whole.exists());
    let end = fetch.stop();
    std::fs::rename(&aside, &at).unwrap();
    assert_eq!(end.code, 130, "{}{}", end.stdout, end.stderr);
    assert!(end.stderr.contains("interrupted"), "{}", end.stderr);
    let report = json(setting.fetch("client"));
    assert!(report["resumed_bytes"].as_u64() >= Some(2 << 20), "{report:#}");
    assert_same(&setting.fetched("client", "image"), &setting.bench.path("image"));
}
