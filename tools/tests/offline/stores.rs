//! If a store cannot be used, the error names the store, and the files of the store are not changed.

use super::sandbox::{Sandbox, names};

const PUBLISH: &str = "publish --root root.cbor --key a.key --channel stable --arch x86_64 --artifact kernel=vmlinuz";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_root();
    sandbox.file("vmlinuz", 10_000);
    sandbox
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let sandbox = sandbox();
    sandbox.ok(&format!("{PUBLISH} --store store"));
    std::fs::write(sandbox.path("store/format"), "phase-store 2\n").unwrap();
    sandbox.fails(&format!("{PUBLISH} --store store"), 7, &["store", "format 2", "newer version of Phase"]);
    sandbox.fails("inspect root.cbor --store store", 7, &["format 2"]);
    std::fs::write(sandbox.path("store/format"), "something else").unwrap();
    sandbox.fails(&format!("{PUBLISH} --store store"), 7, &["format"]);
}

#[test]
fn a_folder_with_other_files_does_not_become_a_store() {
    let sandbox = sandbox();
    sandbox.file("home/letter", 10);
    sandbox.fails(&format!("{PUBLISH} --store home"), 7, &["home", "not a store"]);
    assert_eq!(names(&sandbox.path("home")), ["letter"]);
}

#[test]
fn the_error_names_a_path_at_which_no_store_can_be_created() {
    let sandbox = sandbox();
    sandbox.fails(&format!("{PUBLISH} --store vmlinuz/store"), 7, &["vmlinuz/store"]);
    sandbox.fails(&format!("{PUBLISH} --store /proc/phase-store"), 7, &["/proc/phase-store"]);
    sandbox.fails(&format!("{PUBLISH} --store vmlinuz"), 7, &["vmlinuz"]);
}

#[test]
fn the_default_store_is_in_the_home_folder() {
    let sandbox = sandbox();
    sandbox.ok(PUBLISH);
    assert_eq!(names(&sandbox.path(".local/share/phase/refs")), ["stable"]);
    let environment = sandbox.command(PUBLISH).env("PHASE_STORE", sandbox.path("named")).output().unwrap();
    assert!(environment.status.success());
    assert_eq!(names(&sandbox.path("named/refs")), ["stable"]);
    let homeless = sandbox.command(PUBLISH).env_remove("HOME").output().unwrap();
    assert_eq!(homeless.status.code(), Some(2));
}
