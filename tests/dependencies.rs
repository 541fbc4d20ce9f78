//! What we depend on may be used: the rules of `.ci/deny.toml`, on what Cargo.lock says, without cargo-deny.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Every package that is needed on a machine of this kind.
fn packages() -> Vec<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 50, "{} packages", packages.len());
    packages
}

#[test]
fn every_licence_is_allowed() {
    let rules: toml::Table = include_str!("../.ci/deny.toml").parse().unwrap();
    let allowed: Vec<&str> =
        rules["licenses"]["allow"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let may_be_used = |licence: &str| {
        Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|licence| {
            licence.evaluate(|one| {
                one.addition.is_none() && one.license.id().is_some_and(|id| allowed.contains(&id.name))
            })
        })
    };
    assert!(may_be_used("MIT") && may_be_used("GPL-3.0-only OR MIT") && may_be_used("Unlicense/MIT"));
    assert!(
        !may_be_used("GPL-3.0-only AND MIT")
            && !may_be_used("")
            && !may_be_used("Apache-2.0 WITH LLVM-exception")
    );
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(may_be_used(licence), "{}: {licence:?}", package["name"]);
    }
}

#[test]
fn all_comes_from_one_registry_in_a_version_that_is_said() {
    for package in packages() {
        let source = package["source"].as_str();
        assert!(
            source.is_none_or(|source| source.starts_with("registry+")),
            "{}: {source:?}",
            package["name"]
        );
        let ours = source.is_none();
        for dependency in package["dependencies"].as_array().unwrap() {
            let wild = dependency["req"] == "*" && dependency["path"].is_null();
            assert!(!(ours && wild), "{} of {}", dependency["name"], package["name"]);
        }
    }
}
