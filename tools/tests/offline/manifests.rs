//! A manifest is made, signed key by key, merged, and verified exactly as a client verifies it.

use super::sandbox::Sandbox;

const NEW: &str = "manifest new --store store --channel stable --arch x86_64 --version 7 --artifact kernel=vmlinuz";

/// Makes a trust root that requires signatures by two of three keys, and an unsigned manifest `m.cbor`.
fn two_of_three() -> Sandbox {
    let sandbox = Sandbox::new();
    for key in ["a.key", "b.key", "c.key", "other.key"] {
        sandbox.ok(&format!("key new {key}"));
    }
    sandbox
        .ok("root new --channel stable --channel edge --key a.key --key b.key --key c.key --threshold 2 -o root.cbor");
    sandbox.file("vmlinuz", 300_000);
    sandbox.ok(&format!("{NEW} -o m.cbor"));
    sandbox
}

const VERIFY: &str = "manifest verify --root root.cbor --name stable/x86_64";

#[test]
fn each_signer_adds_one_signature_until_the_threshold_is_met() {
    let sandbox = two_of_three();
    sandbox.fails(&format!("{VERIFY} m.cbor"), 6, &["0 of 2 required signatures"]);
    sandbox.ok("manifest sign m.cbor --key a.key");
    sandbox.ok("manifest sign m.cbor --key a.key");
    sandbox.fails(&format!("{VERIFY} m.cbor"), 6, &["1 of 2 required signatures"]);
    sandbox.ok("manifest sign m.cbor --key other.key -o other-signed.cbor");
    sandbox.fails(&format!("{VERIFY} other-signed.cbor"), 6, &["1 of 2 required signatures", "may not sign"]);
    sandbox.ok("manifest sign m.cbor --key b.key");
    let verified = sandbox.json(&format!("{VERIFY} m.cbor"));
    assert_eq!((verified["verified"].as_bool(), verified["version"].as_u64()), (Some(true), Some(7)));
}

#[test]
fn merging_signed_copies_gives_the_same_file_in_every_order() {
    let sandbox = two_of_three();
    sandbox.ok("manifest sign m.cbor --key a.key -o a.cbor");
    sandbox.ok("manifest sign m.cbor --key b.key -o b.cbor");
    sandbox.ok("manifest merge a.cbor b.cbor -o ab.cbor");
    sandbox.ok("manifest merge b.cbor m.cbor a.cbor -o ba.cbor");
    sandbox.ok(&format!("{VERIFY} ab.cbor"));
    assert_eq!(std::fs::read(sandbox.path("ab.cbor")).unwrap(), std::fs::read(sandbox.path("ba.cbor")).unwrap());
    sandbox.fails("manifest merge a.cbor b.cbor -o ab.cbor", 3, &["ab.cbor exists"]);

    sandbox.ok(&format!("{NEW} --release other -o other.cbor"));
    sandbox.fails("manifest merge a.cbor other.cbor -o no.cbor", 3, &["other.cbor", "different documents"]);
}

#[test]
fn a_manifest_that_has_another_name_or_has_expired_is_not_trusted() {
    let sandbox = two_of_three();
    sandbox.ok("manifest sign m.cbor --key a.key --key b.key");
    let verify = "manifest verify m.cbor --root root.cbor";
    sandbox.fails(&format!("{verify} --name edge/x86_64"), 6, &["channel stable, not edge"]);
    sandbox.fails(&format!("{verify} --name stable/aarch64"), 6, &["architecture x86_64, not aarch64"]);
    sandbox.fails(&format!("{verify} --name nightly/x86_64"), 6, &["no channel nightly"]);
    let shown = sandbox.json("manifest show m.cbor");
    let expires = shown["expires_at"].as_u64().unwrap();
    sandbox.ok(&format!("{verify} --name stable/x86_64 --at {}", expires - 1));
    sandbox.fails(&format!("{verify} --name stable/x86_64 --at {expires}"), 6, &["manifest expired"]);
}

#[test]
fn a_changed_file_and_a_file_of_another_kind_are_refused() {
    let sandbox = two_of_three();
    sandbox.ok("manifest sign m.cbor --key a.key --key b.key");
    let good = std::fs::read(sandbox.path("m.cbor")).unwrap();
    let position = good.windows(7).position(|window| window == b"vmlinuz").unwrap();
    let mut changed = good.clone();
    changed[position] = b'w';
    std::fs::write(sandbox.path("changed.cbor"), changed).unwrap();
    sandbox.fails(&format!("{VERIFY} changed.cbor"), 6, &["0 of 2 required signatures"]);
    std::fs::write(sandbox.path("cut.cbor"), &good[..good.len() - 1]).unwrap();
    sandbox.fails(&format!("{VERIFY} cut.cbor"), 3, &["cut.cbor", "not a signed envelope"]);
    std::fs::write(sandbox.path("empty.cbor"), b"").unwrap();
    sandbox.fails("manifest show empty.cbor", 3, &["empty.cbor"]);
    sandbox.fails("manifest show root.cbor", 3, &["root.cbor", "not a manifest"]);
    sandbox.fails("manifest sign root.cbor --key a.key", 3, &["root.cbor"]);
    sandbox.fails("manifest show missing.cbor", 3, &["missing.cbor", "No such file"]);
    sandbox.fails(&format!("{VERIFY} m.cbor --root m.cbor"), 2, &[]);
    sandbox.fails("manifest verify m.cbor --root m.cbor --name stable/x86_64", 3, &["m.cbor"]);
}

#[test]
fn a_new_manifest_lists_every_given_file_and_has_no_signatures() {
    let sandbox = Sandbox::new();
    sandbox.file("vmlinuz", 300_000);
    sandbox.file("files/empty", 0);
    sandbox.file("files/sub/b", 10);
    let made =
        sandbox.json(&format!("{NEW} --dir files --artifact dtb:dtbs/x.dtb=files/sub/b --cmdline quiet -o m.cbor"));
    let artifacts: Vec<_> = made["artifacts"].as_array().unwrap().iter().collect();
    let rows: Vec<_> = artifacts
        .iter()
        .map(|a| (a["role"].as_str().unwrap(), a["filename"].as_str().unwrap(), a["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        rows,
        [("kernel", "vmlinuz", 300_000), ("dtb", "dtbs/x.dtb", 10), ("file", "empty", 0), ("file", "sub/b", 10)]
    );
    assert_eq!(artifacts[1]["cid"], artifacts[3]["cid"], "the same content has the same CID");
    assert_eq!(made["cmdline"], "quiet");
    assert_eq!(made["signatures"].as_array().unwrap().len(), 0);
}
