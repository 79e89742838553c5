//! The rules for dependencies between packages.

use phase_layers::packages::{Layer, cycles, violations};

use crate::fixture::{Member, workspace};

const LOW: Layer = Layer { package: "low", uses: &[], tests_use: &[], never_pulls: &[] };
const HIGH: Layer = Layer { package: "high", uses: &["low"], tests_use: &[], never_pulls: &[] };

fn low(manifest: &str) -> Member<'_> {
    Member { name: "low", manifest }
}

fn high(manifest: &str) -> Member<'_> {
    Member { name: "high", manifest }
}

const ON_LOW: &str = "[dependencies]\nlow = { path = \"../low\" }\n";

#[test]
fn a_dependency_on_a_lower_layer_is_permitted() {
    let workspace = workspace(&[low(""), high(ON_LOW)]);
    assert!(cycles(&workspace).is_empty());
    assert_eq!(violations(&workspace, &[LOW, HIGH]), Vec::<String>::new());
}

#[test]
fn a_cycle_through_dev_dependencies_is_found() {
    let workspace = workspace(&[low("[dev-dependencies]\nhigh = { path = \"../high\" }\n"), high(ON_LOW)]);
    let cycles = cycles(&workspace);
    assert_eq!(cycles.len(), 1);
    assert_eq!(
        cycles[0].to_string(),
        "cycle of 2: high, low\n  high -> low: dependencies\n  low -> high: dev-dependencies"
    );
}

#[test]
fn a_dependency_on_a_higher_layer_is_reported_in_every_section() {
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let up = format!("[{section}]\nhigh = {{ path = \"../high\" }}\n");
        let workspace = workspace(&[low(&up), high("")]);
        let violations = violations(&workspace, &[LOW, HIGH]);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with(&format!("low must not depend on high ([{section}]")), "{violations:?}");
    }
}

#[test]
fn an_optional_dependency_on_a_higher_layer_is_reported() {
    let workspace = workspace(&[low("[dependencies]\nhigh = { path = \"../high\", optional = true }\n"), high("")]);
    assert_eq!(violations(&workspace, &[LOW, HIGH]).len(), 1);
}

#[test]
fn a_package_that_only_tests_may_use_is_reported_if_the_library_uses_it() {
    let layer = Layer { uses: &[], tests_use: &["low"], ..HIGH };
    let by_tests = workspace(&[low(""), high("[dev-dependencies]\nlow = { path = \"../low\" }\n")]);
    assert_eq!(violations(&by_tests, &[LOW, layer]), Vec::<String>::new());
    let by_library = workspace(&[low(""), high(ON_LOW)]);
    assert_eq!(violations(&by_library, &[LOW, layer]).len(), 1);
}

#[test]
fn a_banned_package_deep_in_the_tree_is_reported_with_the_chain_to_it() {
    let members =
        [Member { name: "clap", manifest: "" }, low("[dependencies]\nclap = { path = \"../clap\" }\n"), high(ON_LOW)];
    let layers =
        [Layer { package: "clap", ..LOW }, Layer { uses: &["clap"], ..LOW }, Layer { never_pulls: &["clap"], ..HIGH }];
    let violations = violations(&workspace(&members), &layers);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(
        violations[0].starts_with("high must not depend on clap, but does through high -> low -> clap"),
        "{violations:?}"
    );
}

#[test]
fn tests_may_use_a_banned_package() {
    let members = [Member { name: "clap", manifest: "" }, low("[dev-dependencies]\nclap = { path = \"../clap\" }\n")];
    let layers = [Layer { package: "clap", ..LOW }, Layer { tests_use: &["clap"], never_pulls: &["clap"], ..LOW }];
    assert_eq!(violations(&workspace(&members), &layers), Vec::<String>::new());
}

#[test]
fn the_table_must_have_every_package_of_the_workspace_and_no_other() {
    let violations = violations(&workspace(&[low("")]), &[HIGH]);
    assert_eq!(
        violations,
        [
            "low has no layer: add it to the table of layers, with the packages that it may use",
            "high is not in the workspace: remove it from the table of layers",
        ]
    );
}
