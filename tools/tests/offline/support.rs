//! A folder to work in and the binary to run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// An empty folder in which `phase` runs, with nothing of the caller's environment that could matter.
pub(crate) struct Bench {
    folder: TempDir,
}

/// How a run ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With `a.key`, and a root for the channels stable and edge that it may sign.
    pub(crate) fn with_root() -> Self {
        let bench = Self::new();
        bench.ok("key new a.key");
        bench.ok("root new --channel stable --channel edge --key a.key -o root.cbor");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of that many bytes that do not repeat.
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

    /// The command with these words as arguments.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phase"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            // Nothing of a test leaves the machine.
            .env("PHASE_NO_MDNS", "1");
        command
    }

    pub(crate) fn run(&self, words: &str) -> Run {
        Run::of(self.command(words).output().unwrap())
    }

    /// Runs what must succeed; returns its standard output.
    pub(crate) fn ok(&self, words: &str) -> String {
        let run = self.run(words);
        assert_eq!(run.code, 0, "phase {words}: {}", run.stderr);
        run.stdout
    }

    /// Runs what must succeed and returns its JSON document.
    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{words} --json"))).unwrap()
    }

    /// Runs what must fail with `code`, and say so in one line with all of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, words: &str, code: i32, parts: &[&str]) {
        let run = self.run(words);
        assert_eq!(run.code, code, "phase {words}: {}{}", run.stdout, run.stderr);
        // Complaints about the command line itself have several lines.
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

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
