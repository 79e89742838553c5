//! The program as a process: help, exit codes, JSON errors, closed pipes.

use serde_json::Value;

use super::sandbox::{Run, Sandbox};

#[test]
fn help_lists_the_exit_codes() {
    let sandbox = Sandbox::new();
    for words in ["--help", "fetch --help", "publish --help", "inspect --help"] {
        let help = sandbox.ok(words);
        for line in phase_cli::EXIT_CODES.lines() {
            assert!(help.contains(line.trim()), "phase {words} lacks {line:?}");
        }
    }
}

#[test]
fn a_wrong_command_line_has_exit_code_two() {
    let sandbox = Sandbox::new();
    for words in ["", "bogus", "key", "key new", "resolve not-a-name --root root.cbor", "providers nonsense"] {
        assert_eq!(sandbox.run(words).code, 2, "phase {words}");
    }
}

#[test]
fn errors_are_json_with_the_json_option() {
    let sandbox = Sandbox::new();
    let run = sandbox.run("inspect missing --json");
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, error["exit_code"].as_i64()), (3, Some(3)));
    assert!(error["error"].as_str().unwrap().contains("missing"), "{error}");
    assert!(run.stdout.is_empty());
}

#[test]
fn without_any_bootstrap_peer_the_error_names_the_next_step() {
    let sandbox = Sandbox::with_root();
    for words in ["fetch stable/x86_64 --root root.cbor --store store", "resolve stable/x86_64 --root root.cbor"] {
        sandbox.fails(words, 2, &["no peer is known", "--bootstrap"]);
    }
    sandbox.fails("providers stable/x86_64 --bootstrap localhost:4001", 2, &["localhost:4001", "multiaddr"]);
    sandbox.fails("providers stable/x86_64 --bootstrap-file missing.toml", 3, &["missing.toml"]);
    sandbox.fails("fetch stable/x86_64 --root missing.cbor --store store", 3, &["missing.cbor"]);
}

#[test]
fn a_closed_pipe_on_standard_output_is_not_a_failure() {
    let sandbox = Sandbox::with_root();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::of(sandbox.command("root show root.cbor").stdout(writer).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn control_characters_in_a_file_name_are_escaped() {
    let sandbox = Sandbox::new();
    let name = "evil\u{1b}[2Jname";
    let run = Run::of(sandbox.command("inspect").arg(name).output().unwrap());
    assert_eq!(run.code, 3);
    assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
}

#[test]
fn the_quiet_option_silences_standard_error() {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 10_000);
    let words = "manifest new --store store --channel stable --arch x86_64 --version 1 --artifact kernel=vmlinuz";
    let loud = sandbox.run(&format!("{words} -o a.cbor"));
    let quiet = sandbox.run(&format!("{words} -o b.cbor --quiet"));
    assert!(loud.stderr.contains("next:") && quiet.stderr.is_empty(), "{:?} {:?}", loud.stderr, quiet.stderr);
}
