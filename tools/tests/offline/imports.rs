//! What can be published: files, pipes and folders; what is refused, and what is said about it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::sandbox::{Run, Sandbox, names};

const PUBLISH: &str = "publish --store store --root root.cbor --key a.key --channel stable --arch any";

/// Runs a shell script in the sandbox, in which `$PHASE` is the program.
fn shell(sandbox: &Sandbox, script: &str) -> Run {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(sandbox.path("")).env("PHASE", env!("CARGO_BIN_EXE_phase"));
    Run::of(command.output().unwrap())
}

/// Asserts that the script publishes a release, and that its only artifact has the content of a file.
fn publishes(sandbox: &Sandbox, script: &str, content: &Path) {
    let run = shell(sandbox, script);
    assert_eq!(run.code, 0, "{script}: {}", run.stderr);
    let release: Value = serde_json::from_str(&run.stdout).unwrap();
    let cid = release["artifacts"][0]["cid"].as_str().unwrap();
    let stored = fs::read(sandbox.path("store/artifacts").join(cid)).unwrap();
    assert!(stored == fs::read(content).unwrap(), "{script}");
}

#[test]
fn two_publishers_at_once_get_different_versions() {
    let sandbox = Sandbox::with_root();
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            sandbox.file(&format!("file-{number}"), 100_000 + number);
            let words = format!("{PUBLISH} --artifact kernel=file-{number} --json");
            sandbox.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut versions: Vec<_> = publishers
        .into_iter()
        .map(|publisher| {
            let run = Run::of(publisher.wait_with_output().unwrap());
            assert_eq!(run.code, 0, "{}", run.stderr);
            serde_json::from_str::<Value>(&run.stdout).unwrap()["version"].as_u64().unwrap()
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4]);
    assert_eq!(sandbox.json("inspect store/refs/stable/any")["version"], 4);
}

#[test]
fn standard_input_and_pipes_can_be_published() {
    let sandbox = Sandbox::with_root();
    let file = sandbox.file("image", 3_000_000);
    let publish = format!("$PHASE {PUBLISH} --json --artifact");
    publishes(&sandbox, &format!("cat image | {publish} rootfs:disk.img=-"), &file);
    publishes(&sandbox, &format!("{publish} rootfs:disk.img=- < image"), &file);
    publishes(&sandbox, &format!("{publish} rootfs:disk.img=<(cat image)"), &file);
    publishes(&sandbox, &format!("mkfifo pipe; cat image > pipe & {publish} rootfs=pipe"), &file);
    // A part of standard input that another program has read is not published.
    let rest = sandbox.path("rest");
    fs::write(&rest, &fs::read(&file).unwrap()[1000..]).unwrap();
    publishes(&sandbox, &format!("(head -c 1000 > /dev/null; {publish} rootfs:disk.img=-) < image"), &rest);
}

#[test]
fn inputs_that_cannot_be_read_again_are_refused_by_reference_and_only_once() {
    let sandbox = Sandbox::with_root();
    sandbox.file("image", 1000);
    let fails = |script: &str, code: i32, parts: &[&str]| {
        let run = shell(&sandbox, &script.replace("publish", &format!("$PHASE {PUBLISH}")));
        assert_eq!(run.code, code, "{script}: {}", run.stderr);
        for part in parts {
            assert!(run.stderr.contains(part), "{script}: {part:?} is not in {}", run.stderr);
        }
    };
    fails("cat image | publish --reference --artifact kernel:a=-", 3, &["/dev/stdin", "by reference", "copy it"]);
    fails("publish --reference --artifact kernel:a=- < image", 3, &["by reference"]);
    fails("publish --reference --artifact kernel:a=<(cat image)", 3, &["/dev/fd/", "by reference"]);
    fails("cat image | publish --artifact kernel=-", 2, &["kernel:vmlinuz=-"]);
    fails("cat image | publish --artifact kernel:a=- --artifact file:b=-", 2, &["only once"]);
    fails("publish --artifact kernel:a=/dev/zero", 3, &["/dev/zero is a character device"]);
    fails("publish --artifact kernel:a=- < /dev/null", 3, &["/dev/stdin is a character device"]);
    assert!(names(&sandbox.path("store/artifacts")).is_empty());
}

#[test]
fn everything_in_a_folder_that_cannot_be_published_is_in_one_message() {
    let sandbox = Sandbox::with_root();
    sandbox.file("files/good", 1000);
    sandbox.file("files/line\nbreak", 1000);
    let at = |name: &str| sandbox.path("files").join(name);
    fs::write(sandbox.path("files").join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("/etc/passwd", at("passwords")).unwrap();
    assert_eq!(shell(&sandbox, "mkfifo files/pipe").code, 0);
    sandbox.fails(
        &format!("{PUBLISH} --dir files"),
        3,
        &["pipe", "named pipe", "xFF", "not UTF-8", "line", "break", "dangling", "passwords", "out of the folder"],
    );
    assert!(!sandbox.path("store").exists(), "something was imported");
}

#[test]
fn what_a_release_does_not_carry_over_is_said() {
    let sandbox = Sandbox::with_root();
    let program = sandbox.file("files/program", 1000);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.file("files/Read", 1001);
    sandbox.file("files/READ", 1002);
    symlink("program", sandbox.path("files/link")).unwrap();
    fs::create_dir(sandbox.path("files/empty")).unwrap();
    let run = sandbox.run(&format!("{PUBLISH} --dir files"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in ["2 executable files", "permissions are not", "1 symbolic link:", "1 empty folder:", "vfat", "Read"] {
        assert!(run.stderr.contains(part), "{part:?} is not in {}", run.stderr);
    }
    let release = sandbox.json(&format!("{PUBLISH} --dir files"));
    let kinds: Vec<_> = release["remarks"].as_array().unwrap().iter().map(|remark| &remark["kind"]).collect();
    assert_eq!(kinds, ["executable", "followed-link", "empty-folder", "case"]);
    let words = "manifest new --store store --channel stable --arch any --version 5 --dir files -o m.cbor";
    assert_eq!(sandbox.json(words)["remarks"].as_array().unwrap().len(), 4);
}

#[test]
fn many_files_can_be_published_with_few_open_files() {
    let sandbox = Sandbox::with_root();
    (0..200).for_each(|number| drop(sandbox.file(&format!("files/{number}"), 100 + number)));
    let run = shell(&sandbox, &format!("ulimit -n 64; $PHASE {PUBLISH} --json --dir files"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let release: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(release["artifacts"].as_array().unwrap().len(), 200);
}

#[test]
fn a_version_that_no_release_could_follow_is_refused() {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 1000);
    let version = u64::MAX;
    sandbox.fails(&format!("{PUBLISH} --artifact kernel=vmlinuz --version {version}"), 3, &["highest version"]);
    let words = format!("manifest new --store store --channel stable --arch any --version {version}");
    sandbox.fails(&format!("{words} --artifact kernel=vmlinuz -o m.cbor"), 3, &["highest version"]);
    assert!(!sandbox.path("m.cbor").exists());
}

#[test]
fn a_secret_key_or_a_store_is_never_published() {
    let sandbox = Sandbox::with_root();
    sandbox.file("files/kernel", 1000);
    fs::copy(sandbox.path("a.key"), sandbox.path("files/b.key")).unwrap();
    for (content, secret) in [
        ("--dir .", "a.key"),
        ("--artifact file=a.key", "a.key"),
        ("--key files/b.key --dir files", "files/b.key"),
        ("--store files/store --dir files", "files/store"),
    ] {
        let publish =
            if content.contains("--store") { PUBLISH.replace("--store store", "") } else { PUBLISH.to_owned() };
        let run = shell(&sandbox, &format!("$PHASE {publish} {content}"));
        assert!(run.code == 3 && run.stderr.contains(secret), "{content}: {} {}", run.code, run.stderr);
    }
    assert!(!sandbox.path("store/refs/stable").exists());
}
