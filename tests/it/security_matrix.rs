//! Every requirement that this version answers for has a test that names it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::layers::collect;

/// The numbers that are due.
const DUE: [u32; 28] = [
    1, 3, 4, 6, 7, 10, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 30, 47, 49, 51, 55,
    57, 58, 59,
];

#[test]
fn every_requirement_that_is_due_has_a_test_that_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    collect(&root.join("tests"), &mut files);
    let proven: BTreeSet<u32> = files
        .iter()
        .flat_map(|file| proven_by(&fs::read_to_string(file).unwrap()))
        .collect();
    let missing: Vec<_> = DUE
        .into_iter()
        .filter(|number| !proven.contains(number))
        .collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

/// The numbers in comments that stand directly above a test.
fn proven_by(text: &str) -> BTreeSet<u32> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let above_a_test = |at: usize| {
        let below = lines[at + 1..].iter().find(|line| !line.starts_with("//"));
        below.is_some_and(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    lines
        .iter()
        .enumerate()
        .filter(|(at, _)| above_a_test(*at))
        .filter_map(|(_, line)| line.strip_prefix("// SECURITY "))
        .flat_map(|numbers| numbers.split(|character: char| !character.is_ascii_digit()))
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn only_a_comment_above_a_test_counts() {
    let text = "// SECURITY 1\n#[test]\n// SECURITY 2\nfn x() {}\n/// SECURITY 3\n#[test]\n\
                // SECURITY 4 and 5\n#[tokio::test(flavor = \"multi_thread\")]\n";
    assert_eq!(proven_by(text), BTreeSet::from([1, 4, 5]));
}
