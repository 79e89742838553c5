//! Rules for packages.

use phase_layers::packages::{Layer, circles, violations};

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
fn a_dependency_down_is_allowed() {
    let workspace = workspace(&[low(""), high(ON_LOW)]);
    assert!(circles(&workspace).is_empty());
    assert_eq!(violations(&workspace, &[LOW, HIGH]), Vec::<String>::new());
}

#[test]
fn a_circle_by_dev_dependencies_is_found() {
    let workspace = workspace(&[low("[dev-dependencies]\nhigh = { path = \"../high\" }\n"), high(ON_LOW)]);
    let circles = circles(&workspace);
    assert_eq!(circles.len(), 1);
    assert_eq!(
        circles[0].to_string(),
        "circle of 2: high, low\n  high -> low: dependencies\n  low -> high: dev-dependencies"
    );
}

#[test]
fn a_dependency_up_is_refused_in_every_section() {
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let up = format!("[{section}]\nhigh = {{ path = \"../high\" }}\n");
        let workspace = workspace(&[low(&up), high("")]);
        let violations = violations(&workspace, &[LOW, HIGH]);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with(&format!("low must not depend on high ([{section}]")), "{violations:?}");
    }
}

#[test]
fn an_optional_dependency_up_is_refused() {
    let workspace = workspace(&[low("[dependencies]\nhigh = { path = \"../high\", optional = true }\n"), high("")]);
    assert_eq!(violations(&workspace, &[LOW, HIGH]).len(), 1);
}

#[test]
fn what_tests_may_use_the_library_may_not() {
    let layer = Layer { uses: &[], tests_use: &["low"], ..HIGH };
    let by_tests = workspace(&[low(""), high("[dev-dependencies]\nlow = { path = \"../low\" }\n")]);
    assert_eq!(violations(&by_tests, &[LOW, layer]), Vec::<String>::new());
    let by_library = workspace(&[low(""), high(ON_LOW)]);
    assert_eq!(violations(&by_library, &[LOW, layer]).len(), 1);
}

#[test]
fn a_banned_package_far_down_the_tree_is_named_with_the_way_to_it() {
    let members =
        [Member { name: "clap", manifest: "" }, low("[dependencies]\nclap = { path = \"../clap\" }\n"), high(ON_LOW)];
    let layers =
        [Layer { package: "clap", ..LOW }, Layer { uses: &["clap"], ..LOW }, Layer { never_pulls: &["clap"], ..HIGH }];
    let violations = violations(&workspace(&members), &layers);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].starts_with("high must not pull in clap, and does by high -> low -> clap"), "{violations:?}");
}

#[test]
fn a_banned_package_may_serve_tests() {
    let members = [Member { name: "clap", manifest: "" }, low("[dev-dependencies]\nclap = { path = \"../clap\" }\n")];
    let layers = [Layer { package: "clap", ..LOW }, Layer { tests_use: &["clap"], never_pulls: &["clap"], ..LOW }];
    assert_eq!(violations(&workspace(&members), &layers), Vec::<String>::new());
}

#[test]
fn every_package_is_in_the_table_and_the_table_names_no_other() {
    let violations = violations(&workspace(&[low("")]), &[HIGH]);
    assert_eq!(
        violations,
        [
            "low has no layer: add it to the table of layers, with what it may use",
            "high is not in the workspace: take it out of the table",
        ]
    );
}
