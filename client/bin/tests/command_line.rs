//! Tests that `phase-client` names a wrong argument or file in its error message and exits with a documented code, and
//! that a wrong command line creates no store.
//!
//! The tests of the program `phase` run this binary too. Cargo builds the binary for them because this package has an
//! integration test.

#![expect(clippy::unwrap_used, reason = "a test helper that fails should panic")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs `phase-client fetch` with these arguments and returns its output.
fn fetch(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phase-client"));
    command.arg("fetch").args(words.split_whitespace()).current_dir(folder).env_clear().env("PHASE_NO_MDNS", "1");
    command.output().unwrap()
}

#[track_caller]
fn fails(folder: &Path, words: &str, code: i32, parts: &[&str]) {
    let output = fetch(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{words}: {part:?} is not in {stderr:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_wrong_command_line_exits_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    fails(folder.path(), "", 2, &["--root", "--store", "<NAME>"]);
    fails(folder.path(), "stable/x86_64 --root r", 2, &["--store"]);
    fails(folder.path(), "stable --root r --store s", 2, &["stable", "channel/arch"]);
    fails(folder.path(), "stable/x86_64 --root r --store s --json --events", 2, &["--json", "--events"]);
    assert!(!folder.path().join("s").exists(), "a wrong command line created a store");
}

#[test]
fn the_error_names_a_missing_or_malformed_root_and_the_exit_code_is_3() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text"), "not a root").unwrap();
    fails(folder.path(), "stable/x86_64 --store s --root missing", 3, &["missing", "No such file"]);
    fails(folder.path(), "stable/x86_64 --store s --root text", 3, &["text", "cannot be trusted"]);
}
