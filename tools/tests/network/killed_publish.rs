//! `phase publish` and `phase store prune` are killed at random moments.

use std::process::Command;

use super::random_kills::{
    Killer, assert_no_process_left, assert_nothing_leaked, collect_garbage, complete, current, verified,
};
use super::sandbox::Sandbox;
use super::test_network::{NAME, assert_same};

/// The length of the file that is in every release, in bytes.
const KERNEL: usize = 1 << 20;
/// The length of a file that is in three releases in a row.
const INITRD: usize = 2_000_000;
/// The length of a file that is different in each release.
const IMAGE: usize = 5_000_000;

struct Work {
    sandbox: Sandbox,
    /// The number of the release that was published last. It is the label of the release too.
    number: usize,
}

impl Work {
    /// Makes the files of the next release.
    fn next(&mut self) {
        self.number += 1;
        let sandbox = &self.sandbox;
        sandbox.file("files/kernel", KERNEL);
        sandbox.file("files/boot/initrd", INITRD + self.number / 3);
        sandbox.file("files/image", IMAGE + self.number);
    }

    fn publish(&self) -> Command {
        let signing = "--store store --root root.cbor --key a.key --channel stable --arch x86_64";
        self.sandbox.command(&format!("publish {signing} --dir files --release {}", self.number))
    }

    fn prune(&self) -> Command {
        self.sandbox.command("store prune --keep 1 --store store")
    }

    /// Returns the label of the current release, which is complete, as a number. It is 0 without a release.
    #[track_caller]
    fn current(&self) -> usize {
        let manifest = current(&verified(&self.sandbox.path("store")), NAME);
        manifest.map_or(0, |manifest| manifest.release.parse().unwrap())
    }

    /// Checks that the current release has the files that were published last.
    #[track_caller]
    fn check_files(&self) {
        let store = self.sandbox.path("store");
        let manifest = current(&verified(&store), NAME).unwrap();
        assert_eq!(manifest.release, self.number.to_string());
        assert_eq!(manifest.artifacts.len(), 3);
        for entry in manifest.artifacts {
            let file = self.sandbox.path("files").join(entry.filename.as_path());
            assert_same(&store.join("artifacts").join(entry.cid.to_string()), &file);
        }
    }
}

#[test]
fn a_killed_publish_or_prune_leaves_a_whole_release_and_nothing_else() {
    let (mut publish, mut prune) = (Killer::new("publish", 20), Killer::new("prune", 10));
    let mut work = Work { sandbox: Sandbox::with_root(), number: 0 };
    work.next();
    publish.measure(work.publish());
    work.next();
    complete(work.publish());
    prune.measure(work.prune());
    while !publish.is_done() || !prune.is_done() {
        work.next();
        for _ in 0..publish.in_a_row() {
            publish.kill(work.publish());
            // Half of the kills are followed by the command alone, because the check opens the store too.
            if publish.random.bool() {
                let label = work.current();
                assert!(label == work.number || label == work.number - 1, "{label} after {}", work.number - 1);
            }
        }
        complete(work.publish());
        work.check_files();
        for _ in 0..prune.in_a_row() {
            prune.kill(work.prune());
            if prune.random.bool() {
                assert_eq!(work.current(), work.number);
            }
        }
        complete(work.prune());
        work.check_files();
        assert_no_process_left(&work.sandbox);
        // A prune keeps orphans that were stored within the last hour, such as those that a killed prune left.
        collect_garbage(&work.sandbox.path("store"));
        assert_nothing_leaked(&work.sandbox.path("store"), &[NAME]);
    }
}
