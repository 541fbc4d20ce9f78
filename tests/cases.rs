//! Cases that the fuzzer has found, in files to be read: each fails against its defect, and the reference server passes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rstest::rstest;
use sockspec::case;

#[rstest]
fn a_kept_case_fails_with_its_defect_and_is_fixed_in_the_reference(
    #[files("fixtures/cases/*.json")] file: PathBuf,
) {
    let case = case::load(&file).unwrap();
    assert_eq!(
        file.file_stem().unwrap().to_str().unwrap(),
        case.id(),
        "a case has the name that it was kept under"
    );
    assert_eq!(case.story, case.scenario.in_words(), "{}", file.display());
    let defect = case.target.argv.iter().position(|word| word == "--defect").unwrap();
    let faulty = case.target.argv[1..].to_vec();
    let cured = [&faulty[..defect - 1], &faulty[defect + 1..]].concat();
    for (server, code, word) in [(faulty, 1, "FAILED"), (cured, 0, "FIXED")] {
        let output = Command::new(env!("CARGO_BIN_EXE_sockspec"))
            .args(["replay", "--timeout-scale", "0.3"])
            .arg(&file)
            .args(["--", env!("CARGO_BIN_EXE_sockspec")])
            .args(&server)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with(&format!("{word} {}", case.clause)), "{said}");
    }
}
