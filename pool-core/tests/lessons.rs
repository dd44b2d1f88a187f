//! The page of lessons keeps its word: every test it names is there and is run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../src/manual/lessons.md");

/// What went wrong elsewhere, and what keeps it out.
#[derive(Debug)]
struct Lesson {
    /// What it was, and whose.
    fault: &'static str,
    /// Why it does not happen here.
    reason: &'static str,
    tests: Vec<&'static str>,
}

/// All entries that begin with a fault in bold; each has three lines, whatever their length.
fn lessons() -> Vec<Lesson> {
    let entries = PAGE.split("\n- **").skip(1);
    entries
        .map(|entry| {
            let entry = entry.split("\n\n").next().unwrap_or(entry);
            let lines: Vec<&str> = entry.split("\\\n").collect();
            let &[fault, reason, tests] = &*lines else {
                panic!("not a fault, a reason and tests: {entry}")
            };
            Lesson {
                fault,
                reason,
                tests: tests.split(',').map(name).collect(),
            }
        })
        .collect()
}

fn name(quoted: &str) -> &str {
    let name = quoted.trim();
    name.strip_prefix('`')
        .and_then(|name| name.strip_suffix('`'))
        .unwrap_or_else(|| panic!("a test is in backticks: {name}"))
}

/// Every file with tests in the workspace.
fn sources() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is a folder of the workspace");
    let crates = fs::read_dir(workspace).expect("the workspace can be read");
    let mut folders: Vec<PathBuf> = crates
        .map(|entry| entry.expect("so can its folders").path())
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .flat_map(|folder| [folder.join("src"), folder.join("tests")])
        .collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("it can be read").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => sources.push(path),
                _ => {}
            }
        }
    }
    sources
}

/// The names of the functions in a file that its crate's harness runs.
fn tests_in(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut tests = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let declared = line.strip_prefix("async ").unwrap_or(line);
        let Some((name, _)) = declared
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        else {
            continue;
        };
        // What is said about a function stands right above it.
        let mut attributes = lines[..number]
            .iter()
            .rev()
            .take_while(|line| !line.is_empty() && !line.ends_with(['{', '}', ';']))
            .copied();
        let is_test = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
        if attributes.clone().any(is_test) && !attributes.any(|line| line.starts_with("#[ignore")) {
            tests.push(name.to_owned());
        }
    }
    tests
}

fn tests_of(sources: &[PathBuf]) -> BTreeSet<String> {
    sources
        .iter()
        .flat_map(|path| tests_in(&fs::read_to_string(path).expect("a source can be read")))
        .collect()
}

#[test]
fn every_lesson_says_whose_it_was_and_why_it_is_no_more() {
    let lessons = lessons();
    assert!(lessons.len() > 60, "only {} were found", lessons.len());
    for lesson in lessons {
        let (_, whose) = lesson.fault.split_once("** ").expect("whose it was");
        // An issue, the version it was reproduced with, or an advisory.
        let is_proof = |word: &str| {
            word.starts_with(|first: char| first == '#' || first.is_numeric())
                || word.starts_with("CVE-")
        };
        assert!(whose.split_whitespace().any(is_proof), "{lesson:?}");
        assert!(lesson.reason.ends_with('.'), "{lesson:?}");
    }
}

#[test]
fn every_test_that_a_lesson_names_is_there_and_is_run() {
    let tests = tests_of(&sources());
    for lesson in lessons() {
        for name in lesson.tests {
            assert!(
                tests.contains(name),
                "{name} is no test, but is to keep this out: {}",
                lesson.fault
            );
        }
    }
}

#[test]
fn every_known_fault_is_a_lesson() {
    let named: BTreeSet<&str> = lessons()
        .into_iter()
        .flat_map(|lesson| lesson.tests)
        .collect();
    let known_faults: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|path| path.iter().any(|part| part == "known_faults"))
        .collect();
    let tests = tests_of(&known_faults);
    assert!(!tests.is_empty());
    for test in tests {
        assert!(named.contains(test.as_str()), "no lesson names {test}");
    }
}

#[test]
fn a_function_is_a_test_if_an_attribute_above_it_says_so() {
    let source = "
        #[test]
        fn plain() {}

        #[tokio::test(start_paused = true)]
        async fn of_tokio() {}

        #[test]
        #[ignore]
        fn never_run() {}

        fn helper() {}
    ";
    assert_eq!(tests_in(source), ["plain", "of_tokio"]);
}
