//! Unsigned, signed once per key, offline, whole: and verified exactly as a client would.

use super::support::Bench;

const NEW: &str = "manifest new --store store --channel stable --arch x86_64 --version 7 --artifact kernel=vmlinuz";

/// Two of the three keys must sign; with an unsigned manifest `m.cbor`.
fn two_of_three() -> Bench {
    let bench = Bench::new();
    for key in ["a.key", "b.key", "c.key", "stranger.key"] {
        bench.ok(&format!("key new {key}"));
    }
    bench.ok("root new --channel stable --channel edge --key a.key --key b.key --key c.key --threshold 2 -o root.cbor");
    bench.file("vmlinuz", 300_000);
    bench.ok(&format!("{NEW} -o m.cbor"));
    bench
}

const VERIFY: &str = "manifest verify --root root.cbor --name stable/x86_64";

#[test]
fn each_signer_adds_one_signature_until_the_threshold_is_met() {
    let bench = two_of_three();
    bench.fails(&format!("{VERIFY} m.cbor"), 6, &["0 of 2 required signatures"]);
    bench.ok("manifest sign m.cbor --key a.key");
    bench.ok("manifest sign m.cbor --key a.key");
    bench.fails(&format!("{VERIFY} m.cbor"), 6, &["1 of 2 required signatures"]);
    bench.ok("manifest sign m.cbor --key stranger.key -o strange.cbor");
    bench.fails(&format!("{VERIFY} strange.cbor"), 6, &["1 of 2 required signatures", "may not sign"]);
    bench.ok("manifest sign m.cbor --key b.key");
    let verified = bench.json(&format!("{VERIFY} m.cbor"));
    assert_eq!((verified["verified"].as_bool(), verified["version"].as_u64()), (Some(true), Some(7)));
}

#[test]
fn copies_signed_apart_are_merged_and_the_order_does_not_matter() {
    let bench = two_of_three();
    bench.ok("manifest sign m.cbor --key a.key -o a.cbor");
    bench.ok("manifest sign m.cbor --key b.key -o b.cbor");
    bench.ok("manifest merge a.cbor b.cbor -o ab.cbor");
    bench.ok("manifest merge b.cbor m.cbor a.cbor -o ba.cbor");
    bench.ok(&format!("{VERIFY} ab.cbor"));
    assert_eq!(std::fs::read(bench.path("ab.cbor")).unwrap(), std::fs::read(bench.path("ba.cbor")).unwrap());
    bench.fails("manifest merge a.cbor b.cbor -o ab.cbor", 3, &["ab.cbor exists"]);

    bench.ok(&format!("{NEW} --release other -o other.cbor"));
    bench.fails("manifest merge a.cbor other.cbor -o no.cbor", 3, &["other.cbor", "different payloads"]);
}

#[test]
fn a_manifest_for_another_name_or_time_is_not_trusted() {
    let bench = two_of_three();
    bench.ok("manifest sign m.cbor --key a.key --key b.key");
    let verify = "manifest verify m.cbor --root root.cbor";
    bench.fails(&format!("{verify} --name edge/x86_64"), 6, &["channel stable, not edge"]);
    bench.fails(&format!("{verify} --name stable/aarch64"), 6, &["architecture x86_64, not aarch64"]);
    bench.fails(&format!("{verify} --name nightly/x86_64"), 6, &["no channel nightly"]);
    let shown = bench.json("manifest show m.cbor");
    let expires = shown["expires_at"].as_u64().unwrap();
    bench.ok(&format!("{verify} --name stable/x86_64 --at {}", expires - 1));
    bench.fails(&format!("{verify} --name stable/x86_64 --at {expires}"), 6, &["manifest expired"]);
}

#[test]
fn a_changed_or_foreign_file_is_refused() {
    let bench = two_of_three();
    bench.ok("manifest sign m.cbor --key a.key --key b.key");
    let good = std::fs::read(bench.path("m.cbor")).unwrap();
    let position = good.windows(7).position(|window| window == b"vmlinuz").unwrap();
    let mut changed = good.clone();
    changed[position] = b'w';
    std::fs::write(bench.path("changed.cbor"), changed).unwrap();
    bench.fails(&format!("{VERIFY} changed.cbor"), 6, &["0 of 2 required signatures"]);
    std::fs::write(bench.path("cut.cbor"), &good[..good.len() - 1]).unwrap();
    bench.fails(&format!("{VERIFY} cut.cbor"), 3, &["cut.cbor", "not a signed envelope"]);
    std::fs::write(bench.path("empty.cbor"), b"").unwrap();
    bench.fails("manifest show empty.cbor", 3, &["empty.cbor"]);
    bench.fails("manifest show root.cbor", 3, &["root.cbor", "phase/manifest/v1"]);
    bench.fails("manifest sign root.cbor --key a.key", 3, &["root.cbor"]);
    bench.fails("manifest show missing.cbor", 3, &["missing.cbor", "No such file"]);
    bench.fails(&format!("{VERIFY} m.cbor --root m.cbor"), 2, &[]);
    bench.fails("manifest verify m.cbor --root m.cbor --name stable/x86_64", 3, &["m.cbor"]);
}

#[test]
fn the_unsigned_manifest_lists_what_was_given() {
    let bench = Bench::new();
    bench.file("vmlinuz", 300_000);
    bench.file("files/empty", 0);
    bench.file("files/sub/b", 10);
    let made =
        bench.json(&format!("{NEW} --dir files --artifact dtb:dtbs/x.dtb=files/sub/b --cmdline quiet -o m.cbor"));
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
