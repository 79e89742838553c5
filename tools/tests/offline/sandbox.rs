//! A temporary folder, and functions that run `phase` in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder in which `phase` runs, without the environment variables of the caller.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// The result of running a program. `code` is -1 if a signal ended the program.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Makes a folder with a key `a.key`, and a trust root `root.cbor` that permits the key to sign the channels stable
    /// and edge.
    pub(crate) fn with_root() -> Self {
        let sandbox = Self::new();
        sandbox.ok("key new a.key");
        sandbox.ok("root new --channel stable --channel edge --key a.key -o root.cbor");
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of `len` pseudorandom bytes. Files of different lengths have different bytes.
    pub(crate) fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::fs::write(&path, (0..len).map(byte).collect::<Vec<_>>()).unwrap();
        path
    }

    /// Returns a command that runs `phase` with these words as arguments.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phase"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            // mDNS is off, so that a test sends nothing to other machines.
            .env("PHASE_NO_MDNS", "1");
        command
    }

    pub(crate) fn run(&self, words: &str) -> Run {
        Run::of(self.command(words).output().unwrap())
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn ok(&self, words: &str) -> String {
        let run = self.run(words);
        assert_eq!(run.code, 0, "phase {words}: {}", run.stderr);
        run.stdout
    }

    /// Runs a command that must succeed, with `--json`, and returns the JSON document that it prints.
    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{words} --json"))).unwrap()
    }

    /// Runs a command that must fail with `code` and an error message in one line that contains all of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, words: &str, code: i32, parts: &[&str]) {
        let run = self.run(words);
        assert_eq!(run.code, code, "phase {words}: {}{}", run.stdout, run.stderr);
        // An error about the command line itself has several lines, so the whole output is searched.
        let is_whole = code == 2;
        let line = run.stderr.lines().find(|line| !is_whole && line.starts_with("error: ")).unwrap_or(&run.stderr);
        for part in parts {
            assert!(line.contains(part), "phase {words}: {part:?} is not in {line:?}");
        }
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Returns the names of the entries in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
