//! A secret key file can be read only by its owner, is always made together with its public key file, and is never
//! overwritten.

use std::os::unix::fs::PermissionsExt as _;

use super::sandbox::{Sandbox, names};

#[test]
fn a_new_secret_key_is_private_and_has_the_key_id_of_its_public_key() {
    let sandbox = Sandbox::new();
    let made = sandbox.json("key new a.key");
    assert_eq!(sandbox.path("a.key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for file in ["a.key", "a.key.pub"] {
        let shown = sandbox.json(&format!("key show {file}"));
        assert_eq!(shown["key_id"], made["key_id"]);
        assert_eq!(shown["public_pem"], std::fs::read_to_string(sandbox.path("a.key.pub")).unwrap());
    }
    assert!(!sandbox.ok("key show a.key").contains("PRIVATE"));
}

#[test]
fn a_key_file_is_never_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.ok("key new a.key");
    let before = std::fs::read(sandbox.path("a.key")).unwrap();
    sandbox.fails("key new a.key", 3, &["a.key", "exists"]);
    std::fs::remove_file(sandbox.path("a.key.pub")).unwrap();
    sandbox.fails("key new a.key", 3, &["a.key exists"]);
    assert_eq!(std::fs::read(sandbox.path("a.key")).unwrap(), before);
    sandbox.file("b.key.pub", 1);
    sandbox.fails("key new b.key", 3, &["b.key.pub exists"]);
    assert_eq!(names(&sandbox.path(".")), ["a.key", "b.key.pub"], "a secret key without its public key is left");
}

#[test]
fn the_error_names_a_file_that_is_not_a_key() {
    let sandbox = Sandbox::new();
    sandbox.file("noise", 100);
    sandbox.fails("key show noise", 3, &["noise", "not an Ed25519"]);
    sandbox.fails("key show nothing", 3, &["nothing", "No such file"]);
    sandbox.fails("key new no/such/folder.key", 3, &["no/such/folder.key"]);
}
