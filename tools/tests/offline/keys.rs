//! Keys are private, whole, and never lost to another one.

use std::os::unix::fs::PermissionsExt as _;

use super::support::{Bench, names};

#[test]
fn a_new_key_is_private_and_both_halves_have_one_id() {
    let bench = Bench::new();
    let made = bench.json("key new a.key");
    assert_eq!(bench.path("a.key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for file in ["a.key", "a.key.pub"] {
        let shown = bench.json(&format!("key show {file}"));
        assert_eq!(shown["key_id"], made["key_id"]);
        assert_eq!(shown["public_pem"], std::fs::read_to_string(bench.path("a.key.pub")).unwrap());
    }
    assert!(!bench.ok("key show a.key").contains("PRIVATE"));
}

#[test]
fn no_key_is_ever_overwritten() {
    let bench = Bench::new();
    bench.ok("key new a.key");
    let before = std::fs::read(bench.path("a.key")).unwrap();
    bench.fails("key new a.key", 3, &["a.key", "exists"]);
    std::fs::remove_file(bench.path("a.key.pub")).unwrap();
    bench.fails("key new a.key", 3, &["a.key exists"]);
    assert_eq!(std::fs::read(bench.path("a.key")).unwrap(), before);
    bench.file("b.key.pub", 1);
    bench.fails("key new b.key", 3, &["b.key.pub exists"]);
    assert_eq!(names(&bench.path(".")), ["a.key", "b.key.pub"], "a key without its other half is left");
}

#[test]
fn what_is_no_key_is_named() {
    let bench = Bench::new();
    bench.file("noise", 100);
    bench.fails("key show noise", 3, &["noise", "not an Ed25519"]);
    bench.fails("key show nothing", 3, &["nothing", "No such file"]);
    bench.fails("key new no/such/folder.key", 3, &["no/such/folder.key"]);
}
