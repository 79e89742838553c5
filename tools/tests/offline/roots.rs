//! A root is made in one step by one person, and in several by several.

use super::support::Bench;

#[test]
fn one_key_makes_a_root_that_is_valid_at_once() {
    let bench = Bench::new();
    let key = bench.json("key new a.key");
    let root = bench.json("root new --channel stable --key a.key -o root.cbor");
    assert_eq!(root["valid"], true);
    assert_eq!(root["channels"]["stable"]["keys"][0], key["key_id"]);
    assert_eq!(root["channels"]["stable"]["pointer_keys"][0], key["key_id"]);
    let shown = bench.json("root show root.cbor");
    assert_eq!((&shown["cid"], &shown["root"]), (&root["cid"], &root["root"]));
    bench.fails("root new --channel stable --key a.key -o root.cbor", 3, &["root.cbor exists"]);
}

#[test]
fn a_root_short_of_its_threshold_is_not_believed_until_the_others_have_signed() {
    let bench = Bench::new();
    for key in ["a.key", "b.key", "c.key"] {
        bench.ok(&format!("key new {key}"));
    }
    let made =
        bench.run("root new --channel stable --key a.key --key b.key.pub --key c.key.pub --threshold 2 -o root.cbor");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("not valid yet"), "{}", made.stderr);
    bench.fails("root show root.cbor", 6, &["root.cbor", "1 of 2 required signatures"]);

    std::fs::copy(bench.path("root.cbor"), bench.path("copy.cbor")).unwrap();
    bench.ok("root sign copy.cbor --key b.key");
    bench.ok("root show copy.cbor");
    bench.ok("root merge root.cbor copy.cbor -o merged.cbor");
    assert_eq!(bench.json("root show merged.cbor")["cid"], bench.json("root show copy.cbor")["cid"]);
}

#[test]
fn impossible_roots_are_refused() {
    let bench = Bench::new();
    bench.ok("key new a.key");
    bench.ok("key new b.key");
    let new = "root new -o root.cbor --key a.key";
    bench.fails(&format!("{new} --channel stable --threshold 2"), 3, &["2 signatures of 1 keys"]);
    bench.fails(&format!("{new} --channel stable --threshold 0"), 3, &["threshold"]);
    bench.fails(&format!("{new} --channel stable --sign-key b.key"), 3, &["b.key", "none of the keys"]);
    bench.fails(&format!("{new} --channel ../etc"), 2, &["../etc"]);
    bench.fails(&format!("{new} --channel stable --expires 90"), 2, &["90"]);
    // The same key twice is one key.
    bench.fails(&format!("{new} --channel stable --key a.key.pub --threshold 2"), 3, &["2 signatures of 1 keys"]);
    assert!(!bench.path("root.cbor").exists());
}
