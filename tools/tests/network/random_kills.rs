//! Kills commands with SIGKILL at random moments, and checks what they leave in a store.
//!
//! `PHASE_SEED` is the RNG seed of the moments. A failing run prints it, but the timing of the processes may differ when
//! it is repeated. `PHASE_KILLS` is the number of kills in all tests together.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use phase_core::Store as _;
use phase_core::manifest::Manifest;
use phase_core::store::{ArtifactState, FileStore, Goal, Removal};

use super::process::{Process, until};
use super::sandbox::{Run, Sandbox, names};

/// The default of `PHASE_KILLS`.
const KILLS: usize = 40;
/// The most kills between two complete runs of a command.
const MAX_IN_A_ROW: usize = 3;
/// After this many kills without a command that ended before its kill, the commands take longer than they took before.
const TOO_SHORT: usize = 20;
/// A Unix time in the future, at which everything in a store is old.
const FUTURE: u64 = 4_000_000_000;

/// Kills the runs of one command at random moments between their beginning and their end.
pub(crate) struct Killer {
    what: &'static str,
    pub(crate) random: fastrand::Rng,
    /// The number of kills that are left.
    left: usize,
    /// How long the command runs if it is not killed.
    length: Duration,
    /// The number of kills in each tenth of that time.
    tenths: [usize; 10],
    /// The number of kills since a run last ended before its kill.
    since_end: usize,
}

impl Killer {
    /// Makes a killer that kills for `percent` of `PHASE_KILLS`.
    pub(crate) fn new(what: &'static str, percent: usize) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seed = number("PHASE_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("{what}: PHASE_SEED={seed}");
        let kills = number("PHASE_KILLS").map_or(KILLS, |kills| kills as usize);
        let left = (kills * percent).div_ceil(100);
        let random = fastrand::Rng::with_seed(seed);
        Self { what, random, left, length: Duration::ZERO, tenths: [0; 10], since_end: 0 }
    }

    /// Returns whether all kills were made.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Returns how often the command is killed before its next complete run.
    pub(crate) fn in_a_row(&mut self) -> usize {
        self.random.usize(1..=MAX_IN_A_ROW).min(self.left)
    }

    /// Runs a command from the beginning to its end, to learn how long that takes.
    #[track_caller]
    pub(crate) fn measure(&mut self, command: Command) -> Run {
        let began = now();
        let run = complete(command);
        self.length = began.elapsed();
        run
    }

    /// Starts a command, and kills it at a random moment. The command may end before that moment, but not by itself with
    /// an error.
    #[track_caller]
    pub(crate) fn kill(&mut self, mut command: Command) {
        // Some moments are after the end, because a run may take longer than the one that was measured.
        let moment = self.length.mul_f64(self.random.f64() * 1.1);
        let (began, mut process) = (now(), Process::start(&mut command));
        until("the moment of the kill", || began.elapsed() >= moment || !process.is_running());
        let took = began.elapsed();
        let what = process.what().to_owned();
        let run = process.kill();
        match run.code {
            -1 => {
                self.left -= 1;
                let tenth = took.as_secs_f64() / self.length.as_secs_f64() * 10.0;
                self.tenths[(tenth as usize).min(9)] += 1;
                self.since_end += 1;
                if self.since_end == TOO_SHORT {
                    (self.length, self.since_end) = (self.length.mul_f64(1.2), 0);
                }
            }
            0 => (self.length, self.since_end) = ((self.length * 3 + took) / 4, 0),
            code => panic!("{what} ended with {code}: {}{}", run.stdout, run.stderr),
        }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        println!("{}: kills in each tenth of {:?}: {:?}, {} left", self.what, self.length, self.tenths, self.left);
    }
}

/// Runs a command, which must succeed.
#[track_caller]
pub(crate) fn complete(mut command: Command) -> Run {
    let process = Process::start(&mut command);
    let what = process.what().to_owned();
    let run = process.end();
    assert_eq!(run.code, 0, "{what}: {}{}", run.stdout, run.stderr);
    run
}

/// Checks that every file of a store is as it should be, and opens it.
#[track_caller]
pub(crate) fn verified(store: &Path) -> FileStore {
    let store = FileStore::open(store).unwrap();
    let problems = store.verify(&mut |_| {}).unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
    store
}

/// Returns the release to which a name leads. All its artifacts are complete.
#[track_caller]
pub(crate) fn current(store: &FileStore, name: &str) -> Option<Manifest> {
    let releases = store.releases().unwrap();
    let is_current = store.pointer(&name.parse().unwrap()).unwrap().is_some();
    let release = releases.into_iter().find(|release| release.is_current && release.name.to_string() == name);
    assert_eq!(release.is_some(), is_current, "{name} leads to no release");
    let manifest = store.manifest(&release?.manifest).unwrap().unwrap();
    for artifact in store.artifacts_of(&manifest).unwrap() {
        assert_eq!(artifact.state, ArtifactState::Complete, "{:#?}", artifact.entry);
    }
    Some(manifest)
}

/// Checks that a store has nothing but whole releases of `allowed`, without a temporary or partial file.
#[track_caller]
pub(crate) fn assert_nothing_leaked(path: &Path, allowed: &[&str]) {
    // The check comes first, because opening the store removes temporary files.
    assert_eq!(names(&path.join("tmp")), [""; 0]);
    let store = verified(path);
    let (mut artifacts, mut blocks) = (BTreeSet::new(), BTreeSet::new());
    for release in store.releases().unwrap() {
        assert!(release.is_current && allowed.contains(&release.name.to_string().as_str()), "{release:#?}");
        blocks.insert(release.manifest.to_string());
        for entry in store.manifest(&release.manifest).unwrap().unwrap().artifacts {
            blocks.insert(entry.cid.to_string());
            artifacts.extend([entry.cid.to_string(), format!("{}.seal", entry.cid)]);
        }
    }
    let found = |folder: &str| names(&path.join(folder)).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(found("artifacts"), artifacts);
    let mut others = &found("blocks") - &blocks;
    // The trust root of a publisher is a block too.
    others.retain(|cid| !is_trust_root(&store, cid));
    assert!(others.is_empty() && found("blocks").is_superset(&blocks), "{others:?} {:?}", found("blocks"));
    assert_eq!(found("damaged"), BTreeSet::new());
    assert_eq!(store.preview_removal(&Removal::new(Goal::Orphans, FUTURE)).unwrap().files, []);
}

fn is_trust_root(store: &FileStore, cid: &str) -> bool {
    let block = store.block(&cid.parse().unwrap()).unwrap();
    block.is_some_and(|block| phase_core::TrustRoot::decode_trusted(&block).is_ok())
}

/// Removes what `phase store gc` removes when everything in the store is old.
pub(crate) fn collect_garbage(store: &Path) {
    FileStore::open(store).unwrap().remove(&Removal::new(Goal::Orphans, FUTURE)).unwrap();
}

/// Checks that no process runs in the sandbox, except nodes that the test still needs.
#[track_caller]
pub(crate) fn assert_no_process_left(sandbox: &Sandbox) {
    let folder = sandbox.path("").canonicalize().unwrap();
    for entry in Path::new("/proc").read_dir().unwrap().flatten() {
        let cwd = std::fs::read_link(entry.path().join("cwd"));
        if cwd.is_ok_and(|cwd| cwd.starts_with(&folder)) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            // A process that has ended in the meantime has no command line.
            assert!(command.is_empty() || command.contains("phase-provider serve"), "still running: {command}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command is killed at a moment of its run time")]
fn now() -> Instant {
    Instant::now()
}
