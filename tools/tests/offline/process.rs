//! How the program behaves as a process: help, exit codes, machine-readable errors, closed pipes.

use serde_json::Value;

use super::support::{Bench, Run};

#[test]
fn help_lists_the_exit_codes() {
    let bench = Bench::new();
    for words in ["--help", "fetch --help", "publish --help", "inspect --help"] {
        let help = bench.ok(words);
        for line in phase_cli::EXIT_CODES.lines() {
            assert!(help.contains(line.trim()), "phase {words} lacks {line:?}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_two() {
    let bench = Bench::new();
    for words in ["", "bogus", "key", "key new", "resolve not-a-name --root root.cbor", "providers nonsense"] {
        assert_eq!(bench.run(words).code, 2, "phase {words}");
    }
}

#[test]
fn errors_are_json_where_a_machine_reads() {
    let bench = Bench::new();
    let run = bench.run("inspect missing --json");
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, error["exit_code"].as_i64()), (3, Some(3)));
    assert!(error["error"].as_str().unwrap().contains("missing"), "{error}");
    assert!(run.stdout.is_empty());
}

#[test]
fn without_any_bootstrap_peer_the_next_step_is_said() {
    let bench = Bench::with_root();
    for words in ["fetch stable/x86_64 --root root.cbor --store store", "resolve stable/x86_64 --root root.cbor"] {
        bench.fails(words, 2, &["no peer is known", "--bootstrap"]);
    }
    bench.fails("providers stable/x86_64 --bootstrap localhost:4001", 2, &["localhost:4001", "multiaddr"]);
    bench.fails("providers stable/x86_64 --bootstrap-file missing.toml", 3, &["missing.toml"]);
    bench.fails("fetch stable/x86_64 --root missing.cbor --store store", 3, &["missing.cbor"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let bench = Bench::with_root();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = Run::of(bench.command("root show root.cbor").stdout(writer).output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let bench = Bench::new();
    let name = "evil\u{1b}[2Jname";
    let run = Run::of(bench.command("inspect").arg(name).output().unwrap());
    assert_eq!(run.code, 3);
    assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
}

#[test]
fn quiet_runs_say_nothing_on_standard_error() {
    let bench = Bench::with_root();
    bench.file("vmlinuz", 10_000);
    let words = "manifest new --store store --channel stable --arch x86_64 --version 1 --artifact kernel=vmlinuz";
    let loud = bench.run(&format!("{words} -o a.cbor"));
    let quiet = bench.run(&format!("{words} -o b.cbor --quiet"));
    assert!(loud.stderr.contains("next:") && quiet.stderr.is_empty(), "{:?} {:?}", loud.stderr, quiet.stderr);
}
