//! What a wrong command line, store or file gets: one error that names it, a documented exit code, and no provider.

#![expect(clippy::unwrap_used, reason = "a helper of tests that cannot go on should panic")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs `phase-provider serve` with these words, none of which can succeed.
fn serve(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phase-provider"));
    command.arg("serve").args(words.split_whitespace()).current_dir(folder).env_clear();
    command.output().unwrap()
}

#[track_caller]
fn fails(folder: &Path, words: &str, code: i32, parts: &[&str]) {
    let output = serve(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}: {stderr}");
    assert!(output.stdout.is_empty(), "{words}: it says that it serves");
    for part in parts {
        assert!(stderr.contains(part), "{words}: {part:?} is not in {stderr:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_wrong_command_line_is_two() {
    let folder = folder();
    fails(folder.path(), "", 2, &["--store"]);
    fails(folder.path(), "--store s --listen localhost:4001", 2, &["localhost:4001"]);
    fails(folder.path(), "--store s --bootstrap localhost:4001", 2, &["localhost:4001", "multiaddr"]);
    fails(folder.path(), "--store s --announce-interval soon", 2, &["soon"]);
    fails(folder.path(), "--store s --announce-interval 0s", 2, &["longer than nothing"]);
    assert!(!folder.path().join("s").exists(), "a wrong command line made a store");
}

#[test]
fn a_list_of_bootstrap_peers_that_cannot_be_read_is_named() {
    let folder = folder();
    fails(folder.path(), "--store s --bootstrap-file missing.toml", 3, &["missing.toml"]);
    std::fs::write(folder.path().join("bad.toml"), "bootstrap = 1").unwrap();
    fails(folder.path(), "--store s --bootstrap-file bad.toml", 3, &["bad.toml"]);
}

#[test]
fn a_folder_that_is_no_usable_store_is_named() {
    let folder = folder();
    let make = |name: &str, format: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("format"), format).unwrap();
    };
    std::fs::write(folder.path().join("file"), "").unwrap();
    fails(folder.path(), "--store file", 7, &["file"]);
    fails(folder.path(), "--store .", 7, &["not a store"]);
    make("newer", "phase-store 2\n");
    fails(folder.path(), "--store newer", 7, &["newer", "format 2", "use a newer version"]);
    make("strange", "something else\n");
    fails(folder.path(), "--store strange", 7, &["strange"]);
}

#[test]
fn errors_are_json_where_a_machine_reads() {
    let folder = folder();
    fails(folder.path(), "--store . --json --bootstrap-file missing.toml", 3, &["{\"error\":", "\"exit_code\":3"]);
}

#[test]
fn help_lists_the_exit_codes() {
    let output = serve(folder().path(), "--help");
    let help = String::from_utf8(output.stdout).unwrap();
    for line in phase_core::failure::EXIT_CODES.lines() {
        assert!(help.contains(line.trim()), "{line:?} is missing");
    }
}
