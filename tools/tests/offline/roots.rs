//! One person makes a trust root in one step. Several people sign a root in several steps.

use super::sandbox::Sandbox;

#[test]
fn a_root_with_one_key_is_valid_as_soon_as_it_is_made() {
    let sandbox = Sandbox::new();
    let key = sandbox.json("key new a.key");
    let root = sandbox.json("root new --channel stable --key a.key -o root.cbor");
    assert_eq!(root["valid"], true);
    assert_eq!(root["channels"]["stable"]["keys"][0], key["key_id"]);
    assert_eq!(root["channels"]["stable"]["pointer_keys"][0], key["key_id"]);
    assert!(sandbox.ok("root show root.cbor").contains("(valid)"));
    let shown = sandbox.json("root show root.cbor");
    assert_eq!((&shown["cid"], &shown["root"]), (&root["cid"], &root["root"]));
    sandbox.fails("root new --channel stable --key a.key -o root.cbor", 3, &["root.cbor exists"]);
}

#[test]
fn a_root_is_not_trusted_until_enough_keys_have_signed_it() {
    let sandbox = Sandbox::new();
    for key in ["a.key", "b.key", "c.key"] {
        sandbox.ok(&format!("key new {key}"));
    }
    let made =
        sandbox.run("root new --channel stable --key a.key --key b.key.pub --key c.key.pub --threshold 2 -o root.cbor");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("not valid yet"), "{}", made.stderr);
    sandbox.fails("root show root.cbor", 6, &["root.cbor", "1 of 2 required signatures"]);

    std::fs::copy(sandbox.path("root.cbor"), sandbox.path("copy.cbor")).unwrap();
    sandbox.ok("root sign copy.cbor --key b.key");
    sandbox.ok("root show copy.cbor");
    sandbox.ok("root merge root.cbor copy.cbor -o merged.cbor");
    assert_eq!(sandbox.json("root show merged.cbor")["cid"], sandbox.json("root show copy.cbor")["cid"]);
}

#[test]
fn a_root_with_impossible_keys_or_thresholds_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok("key new a.key");
    sandbox.ok("key new b.key");
    let new = "root new -o root.cbor --key a.key";
    sandbox.fails(&format!("{new} --channel stable --threshold 2"), 3, &["requires 2 signatures, but has only 1 key"]);
    sandbox.fails(&format!("{new} --channel stable --threshold 0"), 3, &["threshold"]);
    sandbox.fails(&format!("{new} --channel stable --sign-key b.key"), 3, &["b.key", "not one of the keys"]);
    sandbox.fails(&format!("{new} --channel ../etc"), 2, &["../etc"]);
    sandbox.fails(&format!("{new} --channel stable --expires 90"), 2, &["90"]);
    // A key that is given as two files, secret and public, counts once.
    sandbox.fails(
        &format!("{new} --channel stable --key a.key.pub --threshold 2"),
        3,
        &["requires 2 signatures, but has only 1 key"],
    );
    assert!(!sandbox.path("root.cbor").exists());
}
