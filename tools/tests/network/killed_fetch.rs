//! `phase fetch` and `phase store repair` are killed at random moments.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::until;
use super::random_kills::{Killer, assert_no_process_left, assert_nothing_leaked, collect_garbage, current, verified};
use super::sandbox::names;
use super::test_network::{TestNetwork, allocated, json, run};

/// The names of the two releases. Their files have the same names.
const NAMES: [&str; 2] = ["stable/x86_64", "edge/x86_64"];
/// The names of the files in a release.
const FILES: [&str; 3] = ["kernel", "boot/initrd", "image"];
/// The length of the file that both releases have, in bytes.
const KERNEL: usize = 1 << 20;
/// The length of a file of which each release has its own, in bytes.
const INITRD: usize = 2_000_000;
/// The length of the first part of the large file, which both releases have, and of the rest, in bytes.
const IMAGE: [usize; 2] = [4_000_000, 5_000_000];
/// The number of bytes that a kill may lose: chunks that were being written, and blocks that chunks share.
const HALF_WRITTEN: u64 = 2 << 20;

/// A place that gets the files of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A folder that has the files of a release, and another file.
    Folder,
    /// A folder that does not exist.
    NewFolder,
    /// A symbolic link to a folder.
    Link,
    /// A file.
    File,
}

const PLACES: [Place; 4] = [Place::Folder, Place::NewFolder, Place::Link, Place::File];

struct Work {
    network: TestNetwork,
    /// The content of [`FILES`] in each release.
    content: [Vec<Vec<u8>>; 2],
}

impl Work {
    fn new() -> Self {
        let network = TestNetwork::new();
        let sandbox = &network.sandbox;
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        let content = [0, 1].map(|release| {
            let name = NAMES[release];
            let [kernel, initrd, start] = [KERNEL, INITRD + release, IMAGE[0]].map(|len| read(sandbox.file("x", len)));
            let image = [start, read(sandbox.file("x", IMAGE[1] + release))].concat();
            let content = vec![kernel, initrd, image];
            for (file, bytes) in FILES.iter().zip(&content) {
                let path = sandbox.path(&format!("files/{name}/{file}"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            let (channel, arch) = name.split_once('/').unwrap();
            let signing = format!("--root root.cbor --key a.key --channel {channel} --arch {arch}");
            sandbox.ok(&format!("publish --store store {signing} --dir files/{name}"));
            content
        });
        Self { network, content }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.network.sandbox.path(name)
    }

    /// Returns the command that fetches a release into a place, in place if there is no store.
    fn fetch(&self, release: usize, place: Place, store: Option<&str>) -> Command {
        let output = match place {
            Place::File => "--only image --output-file File/image".to_owned(),
            place => format!("--output {place:?}/out"),
        };
        let store = match store {
            Some(store) => format!("--store {store} --listen /ip4/127.0.0.1/tcp/0"),
            None => "--ephemeral".to_owned(),
        };
        self.network.phase(&format!("fetch {} --root root.cbor --json {output} {store}", NAMES[release]))
    }

    /// Puts the old release into a place.
    fn prepare(&self, old: usize, place: Place) {
        let folder = self.path(&format!("{place:?}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let files = self.path(&format!("files/{}", NAMES[old]));
        match place {
            Place::Folder => {
                copy_tree(&files, &folder.join("out"));
                std::fs::write(folder.join("out/notes"), "not of the release").unwrap();
            }
            Place::NewFolder => {}
            Place::Link => {
                copy_tree(&files, &folder.join("first"));
                symlink("first", folder.join("out")).unwrap();
            }
            Place::File => drop(std::fs::copy(files.join("image"), folder.join("image")).unwrap()),
        }
    }

    /// Returns the release that is visible in a place, or `None` if there is none. All its files have the right bytes.
    #[track_caller]
    fn visible(&self, place: Place) -> Option<usize> {
        let folder = self.path(&format!("{place:?}"));
        let (folder, files) = match place {
            Place::File => (folder, &FILES[2..]),
            _ => (folder.join("out"), &FILES[..]),
        };
        if place == Place::Folder {
            assert_eq!(std::fs::read_to_string(folder.join("notes")).unwrap(), "not of the release");
        }
        if place == Place::NewFolder && !folder.exists() {
            return None;
        }
        let found: Vec<_> = files.iter().map(|file| std::fs::read(folder.join(file)).unwrap()).collect();
        let has = |release: &usize| found == self.content[*release][FILES.len() - files.len()..];
        let release = [0, 1].into_iter().find(has);
        assert!(release.is_some(), "{place:?} has neither release: {:?}", names(&folder));
        release
    }

    /// Checks that a place has nothing but the files of a release.
    #[track_caller]
    fn check(&self, release: usize, place: Place) {
        assert_eq!(self.visible(place), Some(release), "{place:?}");
        let mut found = names(&self.path(&format!("{place:?}")));
        if place == Place::Link {
            // The folder of this release and the one before it.
            let folders = found.iter().filter(|name| name.starts_with("out.phase-")).count();
            assert!(folders <= 2, "{found:?}");
            found.retain(|name| name != "first" && !name.starts_with("out.phase-"));
        }
        assert_eq!(found, [if place == Place::File { "image" } else { "out" }], "{place:?}");
        let mut files = if place == Place::Folder { vec!["boot", "image", "kernel", "notes"] } else { vec![] };
        if let Place::NewFolder | Place::Link = place {
            files = vec!["boot", "image", "kernel"];
        }
        assert_eq!(names(&self.path(&format!("{place:?}/out"))), files, "{place:?}");
        assert_no_process_left(&self.network.sandbox);
    }

    /// Returns the number of bytes of a release that a killed fetch in place left on disk.
    fn staged(&self, place: Place) -> u64 {
        let folder = self.path(&format!("{place:?}"));
        let staging = names(&folder).into_iter().filter(|name| name.starts_with(".phase-"));
        let of = |name: String| FILES.iter().map(|file| allocated(&folder.join(&name).join("new").join(file))).sum();
        staging.map(of).max().unwrap_or(0)
    }

    /// Returns the number of bytes of partial artifacts that a killed fetch left in a store.
    fn partial(&self, store: &str) -> u64 {
        let artifacts = self.path(store).join("artifacts");
        let parts = names(&artifacts).into_iter().filter(|name| name.ends_with(".part"));
        parts.map(|name| allocated(&artifacts.join(name))).sum()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        match from.is_dir() {
            true => copy_tree(&from, &to),
            false => drop(std::fs::copy(from, to).unwrap()),
        }
    }
}

/// Checks that a run which follows a kill has not fetched again what the kill left. Returns whether it had left
/// anything.
#[track_caller]
fn assert_resumed(report: &Value, held: u64) -> bool {
    let resumed = report["resumed_bytes"].as_u64().unwrap();
    assert!(resumed + HALF_WRITTEN >= held, "resumed {resumed} of {held} bytes: {report:#}");
    resumed > 0
}

#[test]
fn a_killed_fetch_resumes_and_hands_over_one_whole_release() {
    let work = Work::new();
    let _provider = work.network.provide("store");
    until("both names", || {
        NAMES.iter().all(|name| run(work.network.phase(&format!("resolve {name} --root root.cbor"))).code == 0)
    });
    let mut export = Killer::new("fetch and export", 30);
    for release in [0, 1] {
        work.prepare(1 - release, Place::Folder);
        export.measure(work.fetch(release, Place::Folder, Some(&format!("has-{release}"))));
    }
    kill_exports(&work, &mut export);
    let mut in_place = Killer::new("fetch in place", 30);
    work.prepare(1, Place::Folder);
    in_place.measure(work.fetch(0, Place::Folder, None));
    kill_fetches_in_place(&work, &mut in_place);
    kill_repairs(&work, &mut Killer::new("repair", 10));
}

/// Kills fetches into a store: an empty one, one with the other release, or one that needs the export only.
fn kill_exports(work: &Work, killer: &mut Killer) {
    let mut resumptions = 0;
    for round in 0.. {
        if killer.is_done() {
            break;
        }
        let (release, place) = (round % 2, PLACES[round / 2 % PLACES.len()]);
        let _ = std::fs::remove_dir_all(work.path("client"));
        match killer.random.u8(..3) {
            0 => {}
            1 => copy_tree(&work.path(&format!("has-{}", 1 - release)), &work.path("client")),
            _ => copy_tree(&work.path(&format!("has-{release}")), &work.path("client")),
        }
        work.prepare(1 - release, place);
        let fetch = || work.fetch(release, place, Some("client"));
        for _ in 0..killer.in_a_row() {
            killer.kill(fetch());
            work.visible(place);
            if killer.random.bool() && work.path("client/format").exists() {
                current(&verified(&work.path("client")), NAMES[release]);
            }
        }
        let held = work.partial("client");
        resumptions += usize::from(assert_resumed(&json(fetch()), held) && held > 0);
        work.check(release, place);
        if place != Place::File {
            assert!(current(&verified(&work.path("client")), NAMES[release]).is_some());
            assert_nothing_leaked(&work.path("client"), &NAMES);
        }
    }
    println!("fetch and export: {resumptions} runs resumed a partial artifact");
}

/// Kills fetches that write into the output.
fn kill_fetches_in_place(work: &Work, killer: &mut Killer) {
    let mut resumptions = 0;
    for round in 0.. {
        if killer.is_done() {
            break;
        }
        let (release, place) = (round % 2, PLACES[round / 2 % PLACES.len()]);
        work.prepare(1 - release, place);
        for _ in 0..killer.in_a_row() {
            killer.kill(work.fetch(release, place, None));
            work.visible(place);
        }
        let is_visible = work.visible(place) == Some(release);
        let held = if is_visible { 0 } else { work.staged(place) };
        resumptions += usize::from(assert_resumed(&json(work.fetch(release, place, None)), held));
        work.check(release, place);
    }
    println!("fetch in place: {resumptions} runs resumed");
}

/// Kills repairs of a store in which one artifact is damaged and one is missing.
fn kill_repairs(work: &Work, killer: &mut Killer) {
    let store = work.path("client");
    let repair = || work.network.phase("store repair --root root.cbor --store client --give-up-after 60s --json");
    for round in 0.. {
        let release = round % 2;
        let _ = std::fs::remove_dir_all(&store);
        copy_tree(&work.path(&format!("has-{release}")), &store);
        let opened = verified(&store);
        let manifest = current(&opened, NAMES[release]).unwrap();
        let file = |name: &str| {
            let entry = manifest.artifacts.iter().find(|entry| entry.filename.as_str() == name).unwrap();
            store.join("artifacts").join(entry.cid.to_string())
        };
        damage(&file("image"));
        std::fs::remove_file(file("boot/initrd")).unwrap();
        if round == 0 {
            killer.measure(repair());
        } else {
            for _ in 0..killer.in_a_row() {
                killer.kill(repair());
                let pointer = phase_core::Store::pointer(&opened, &NAMES[release].parse().unwrap()).unwrap();
                assert!(pointer.is_some());
            }
            assert_eq!(json(repair())["missing"], Value::Array(Vec::new()));
        }
        assert_eq!(current(&verified(&store), NAMES[release]).unwrap(), manifest);
        for (name, bytes) in FILES.iter().zip(&work.content[release]) {
            assert!(std::fs::read(file(name)).unwrap() == *bytes, "{name}");
        }
        assert_eq!(names(&store.join("damaged")).len(), 1);
        collect_garbage(&store);
        assert_nothing_leaked(&store, &NAMES);
        assert_no_process_left(&work.network.sandbox);
        if killer.is_done() {
            return;
        }
    }
}

/// Changes one byte of an artifact.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
}
