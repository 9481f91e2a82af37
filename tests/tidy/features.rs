//! Whether `tests/features.md` tells the truth: each row of the specifications is in it, and each test that it names is
//! there and says that it is about that row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{files, root};

/// The specifications, with how many rows they have.
const SPECIFICATIONS: [(&str, usize); 2] = [("S1", 96), ("S2", 57)];

/// What a row may say of what no test proves, each with its reason in brackets.
const OPEN: [&str; 3] = ["later: Redis engine (", "later: plugin platform (", "not yet ("];

/// The rows that a test is about by its name.
fn rows_of(test: &str) -> Vec<String> {
    let words: Vec<&str> = test.split('_').collect();
    let pairs = words.chunks(2).map_while(|pair| {
        let [specification, number] = pair else { return None };
        let number: usize = number.parse().ok()?;
        let specification = specification.to_uppercase();
        SPECIFICATIONS.iter().any(|(name, _)| *name == specification).then(|| format!("{specification}-{number}"))
    });
    pairs.collect()
}

/// The names of the tests in a Rust file. One that is ignored proves nothing, and is none.
fn tests_in(text: &str) -> Vec<&str> {
    let behind = text.split("#[test]").skip(1);
    behind.filter_map(|behind| behind.trim_start().strip_prefix("fn ")?.split('(').next()).collect()
}

/// The rows of a table: what a row says proves it.
fn proofs(table: &str) -> Vec<(String, String)> {
    let rows =
        table.lines().filter(|line| SPECIFICATIONS.iter().any(|(name, _)| line.starts_with(&format!("| {name}-"))));
    let cells = rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[0].to_owned(), cells[2..].join(" | "))).collect()
}

/// What is wrong with a row's proof; `read` is how a file is read.
fn faults_of(row: &str, proof: &str, read: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let fault = |part: &str| {
        if OPEN.iter().any(|open| part.starts_with(open) && part.ends_with(')') && part.len() > open.len() + 1) {
            return None;
        }
        let test = part.strip_prefix('`').and_then(|part| part.strip_suffix('`')?.split_once("::"));
        let Some((file, name)) = test else { return Some("is neither a test nor a reason") };
        let Some(text) = read(file) else { return Some("is in no file") };
        if !file.ends_with(".rs") {
            return (name.is_empty() || !text.contains(name)).then_some("is no title there");
        }
        if !tests_in(&text).contains(&name) {
            return Some("is no test there");
        }
        (!rows_of(name).iter().any(|about| about == row)).then_some("does not carry the row's number")
    };
    proof.split("; ").filter_map(|part| Some(format!("{row}: {part} {}", fault(part)?))).collect()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

fn table() -> Vec<(String, String)> {
    proofs(&read("tests/features.md").unwrap())
}

#[test]
fn every_row_of_the_specifications_is_there_once() {
    let rows: Vec<String> = table().into_iter().map(|(row, _)| row).collect();
    let expected: Vec<String> = SPECIFICATIONS
        .iter()
        .flat_map(|(name, count)| (1..=*count).map(move |number| format!("{name}-{number}")))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_row_is_proven_or_says_why_not() {
    let faults: Vec<String> = table().iter().flat_map(|(row, proof)| faults_of(row, proof, &read)).collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn every_test_that_names_a_row_is_in_it() {
    let proofs: BTreeMap<String, String> = table().into_iter().collect();
    let mut seen = BTreeSet::new();
    for (path, text) in files("tests", "rs").into_iter().chain(files("src", "rs")) {
        for name in tests_in(&text) {
            for row in rows_of(name) {
                let test = format!("`{path}::{name}`");
                assert!(proofs.get(&row).is_some_and(|proof| proof.contains(&test)), "{row} does not name {test}");
                seen.insert(row);
            }
        }
    }
    assert!(seen.len() > 90, "the tests are found: {seen:?}");
}

// The checks themselves

#[test]
fn a_table_that_lies_is_found_out() {
    let text = "#[test]\nfn s1_2_s2_13_it_is() {}\n#[test]\n#[ignore]\nfn s1_3_ignored() {}\nfn s1_4_helper() {}\n";
    let read = |path: &str| (path == "a.rs" || path == "b.mjs").then(|| text.to_owned());
    let faulty = |row: &str, proof: &str| !faults_of(row, proof, &read).is_empty();
    for (row, proof) in [
        ("S1-2", "`a.rs::s1_2_s2_13_it_is`"),
        ("S2-13", "`a.rs::s1_2_s2_13_it_is`; later: Redis engine (keys)"),
        ("S1-9", "`b.mjs::it_is`"),
        ("S1-9", "not yet (nobody did it)"),
    ] {
        assert!(!faulty(row, proof), "{row}: {proof}");
    }
    for (row, proof) in [
        ("S1-1", "`a.rs::s1_2_s2_13_it_is`"),
        ("S2-1", "`a.rs::s1_2_s2_13_it_is`"),
        ("S1-2", "`a.rs::s1_2_s2_13_it`"),
        ("S1-2", "`c.rs::s1_2_s2_13_it_is`"),
        ("S1-3", "`a.rs::s1_3_ignored`"),
        ("S1-4", "`a.rs::s1_4_helper`"),
        ("S1-9", "`b.mjs::it is not`"),
        ("S1-9", "later: Redis engine"),
        ("S1-9", "not yet ()"),
        ("S1-9", "later"),
        ("S1-9", ""),
    ] {
        assert!(faulty(row, proof), "{row}: {proof}");
    }
    assert_eq!(rows_of("s1_24_s2_3_s_x"), ["S1-24", "S2-3"]);
    assert_eq!(proofs("| S1-1 | what | why |\n| row | x | y |\n"), [("S1-1".to_owned(), "why".to_owned())]);
}
