//! The program that compares pools, as a user runs it.

use std::fs;
use std::process::Command;

use yardstick::page;

#[test]
fn a_comparison_ends_with_its_targets_and_writes_two_pages() {
    let folder = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--quick", "--only", "uncontended", "--out"])
        .arg(&folder)
        .output()
        .expect("it was built");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for name in ["FLOOR", "ours, owned guard", "deadpool", "bb8", "mobc"] {
        assert!(stdout.contains(name), "{name} in {stdout}");
    }
    assert!(stdout.contains("of 3 targets hold"), "{stdout}");
    let html = fs::read_to_string(folder.join("compare.html")).expect("written");
    assert_eq!(page::find_fault(&html), None);
    let markdown = fs::read_to_string(folder.join("COMPARE.md")).expect("written");
    assert!(markdown.contains("| **ours** |"), "{markdown}");
    fs::remove_dir_all(folder).expect("ours");
}

#[test]
fn a_suite_that_does_not_exist_is_answered_with_those_that_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--only", "nonsense"])
        .output()
        .expect("it was built");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cancelled_waiters"), "{stderr}");
}
