//! A store that cannot be used is named, and nothing in it is touched.

use super::support::{Bench, names};

const PUBLISH: &str = "publish --root root.cbor --key a.key --channel stable --arch x86_64 --artifact kernel=vmlinuz";

fn bench() -> Bench {
    let bench = Bench::with_root();
    bench.file("vmlinuz", 10_000);
    bench
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let bench = bench();
    bench.ok(&format!("{PUBLISH} --store store"));
    std::fs::write(bench.path("store/format"), "phase-store 2\n").unwrap();
    bench.fails(&format!("{PUBLISH} --store store"), 7, &["store", "format 2", "newer version of Phase"]);
    bench.fails("inspect root.cbor --store store", 7, &["format 2"]);
    std::fs::write(bench.path("store/format"), "something else").unwrap();
    bench.fails(&format!("{PUBLISH} --store store"), 7, &["format"]);
}

#[test]
fn a_folder_with_other_things_is_not_made_a_store() {
    let bench = bench();
    bench.file("home/letter", 10);
    bench.fails(&format!("{PUBLISH} --store home"), 7, &["home", "not a store"]);
    assert_eq!(names(&bench.path("home")), ["letter"]);
}

#[test]
fn a_place_where_no_store_can_be_is_an_error() {
    let bench = bench();
    bench.fails(&format!("{PUBLISH} --store vmlinuz/store"), 7, &["vmlinuz/store"]);
    bench.fails(&format!("{PUBLISH} --store /proc/phase-store"), 7, &["/proc/phase-store"]);
    bench.fails(&format!("{PUBLISH} --store vmlinuz"), 7, &["vmlinuz"]);
}

#[test]
fn without_an_option_the_store_is_in_the_home_folder() {
    let bench = bench();
    bench.ok(PUBLISH);
    assert_eq!(names(&bench.path(".local/share/phase/refs")), ["stable"]);
    let environment = bench.command(PUBLISH).env("PHASE_STORE", bench.path("named")).output().unwrap();
    assert!(environment.status.success());
    assert_eq!(names(&bench.path("named/refs")), ["stable"]);
    let homeless = bench.command(PUBLISH).env_remove("HOME").output().unwrap();
    assert_eq!(homeless.status.code(), Some(2));
}
