//! `docs/security.md` says which test proves which requirement, and what the others wait for;
//! `docs/limits.md` what whoever passes a limit is answered, and the README by which codes refusals go. Here
//! they are held to that.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;

use crate::layers::collect;

/// The requirements are numbered from 1 to this.
const LAST: u32 = 60;

#[test]
fn the_table_of_requirements_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proofs = proofs(root);
    let file = root.join("docs/security.md");
    let text = fs::read_to_string(&file).unwrap();
    let mut numbers = Vec::new();
    let mut unproven = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(row) = Row::read(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let proofs = proofs.get(&row.number).cloned().unwrap_or_default();
        if proofs.is_empty() && row.waits_for.is_empty() {
            unproven.push(row.number);
        }
        numbers.push(row.number);
        lines.push(row.with(&proofs));
    }
    assert_eq!(
        numbers,
        (1..=LAST).collect::<Vec<_>>(),
        "one row each, in order"
    );
    assert_eq!(
        unproven, [0; 0],
        "no test names these, and they wait for nothing"
    );
    let strays: Vec<_> = proofs
        .keys()
        .filter(|number| !numbers.contains(number))
        .collect();
    assert!(strays.is_empty(), "no such requirement: {strays:?}");

    let true_text = lines.join("\n") + "\n";
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, true_text).unwrap();
    } else if text != true_text {
        panic!(
            "docs/security.md lists other tests than there are: UPDATE_DOCS=1 tests/run security_matrix"
        );
    }
}

/// `| number | requirement | proven by | waits for |`
struct Row<'a> {
    number: u32,
    requirement: &'a str,
    waits_for: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["", number, requirement, _, waits_for, ""] => Some(Self {
                number: number.parse().ok()?,
                requirement,
                waits_for,
            }),
            _ => None,
        }
    }

    fn with(&self, proofs: &BTreeSet<String>) -> String {
        let proofs: Vec<_> = proofs.iter().map(|proof| format!("`{proof}`")).collect();
        let proofs = proofs.join("<br>");
        let Self {
            number,
            requirement,
            waits_for,
        } = self;
        format!("| {number} | {requirement} | {proofs} | {waits_for} |")
    }
}

/// The tests that name a number, as `file::test`.
fn proofs(root: &Path) -> BTreeMap<u32, BTreeSet<String>> {
    let mut proofs: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for folder in ["src", "tests/it"] {
        let folder = root.join(folder);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(&folder).unwrap().with_extension("");
            for (number, test) in proven_by(&text) {
                let proof = format!("{}::{test}", name.display());
                proofs.entry(number).or_default().insert(proof);
            }
        }
    }
    proofs
}

/// The numbers in comments that stand directly above a test, and its name.
fn proven_by(text: &str) -> BTreeSet<(u32, String)> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut proven = BTreeSet::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(numbers) = line.strip_prefix("// SECURITY ") else {
            continue;
        };
        let below = lines[at + 1..]
            .iter()
            .skip_while(|line| line.starts_with("//"));
        let mut attributes = below.clone().take_while(|line| line.starts_with("#["));
        if !attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        {
            continue;
        }
        let name = below
            .skip_while(|line| line.starts_with("#["))
            .find_map(|line| {
                let (_, after) = line.split_once("fn ")?;
                after.split('(').next().map(str::to_owned)
            });
        let numbers = numbers.split(|character: char| !character.is_ascii_digit());
        for number in numbers.filter_map(|number| number.parse().ok()) {
            proven.insert((number, name.clone().unwrap_or_default()));
        }
    }
    proven
}

#[test]
fn only_a_comment_above_a_test_counts() {
    let text = "// SECURITY 1\n#[test]\nfn one() {}\n// SECURITY 2\nfn x() {}\n/// SECURITY 3\n#[test]\n\
                fn y() {}\n// SECURITY 4 and 5\n// Why.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\n";
    let expected = [(1, "one"), (4, "two"), (5, "two")];
    let expected = expected.map(|(number, name)| (number, name.to_owned()));
    assert_eq!(proven_by(text), BTreeSet::from(expected));
}

/// Keys of these tables that bound nobody: who is not counted, who is one caller, what a hash costs.
const NO_LIMITS: [&str; 4] = [
    "limits.exempt",
    "limits.ipv6_prefix",
    "hashing.memory",
    "hashing.iterations",
];

#[test]
fn every_code_of_a_refusal_is_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    // What the health checks say is for machines that ask for nothing but the status.
    files.retain(|file| !file.ends_with("telemetry/admin.rs"));
    let codes: BTreeSet<String> = files.iter().flat_map(|file| codes(file)).collect();
    assert!(codes.contains("no_route") && codes.len() > 30, "{codes:?}");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let missing: Vec<_> = codes
        .iter()
        .filter(|code| !readme.contains(&format!("`{code}`")))
        .collect();
    assert!(missing.is_empty(), "the README does not say {missing:?}");
}

/// What stands as a text behind a status: `StatusCode::NOT_FOUND, "no_route"`.
fn codes(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = |behind: &str| {
        let behind =
            behind.trim_start_matches(|letter: char| letter.is_ascii_uppercase() || letter == '_');
        let behind = behind.strip_prefix(',')?;
        let (code, _) = behind.trim_start().strip_prefix('"')?.split_once('"')?;
        let is_code = code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_code.then(|| code.to_owned())
    };
    text.split("StatusCode::")
        .skip(1)
        .filter_map(code)
        .collect()
}

#[test]
fn the_table_of_limits_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let sample = fs::read_to_string(root.join("gateway.toml")).unwrap();
    let mut wrong = BTreeSet::new();
    for table in ["connections", "limits", "hashing"] {
        let lines = sample.split_once(&format!("\n[{table}]")).unwrap().1;
        let lines = lines.lines().skip(1).take_while(|line| !line.is_empty());
        for (key, default) in lines.filter_map(default) {
            let key = format!("{table}.{key}");
            let is_told = |line: &str| line.contains(&format!("`{key}`")) && line.contains(default);
            if !NO_LIMITS.contains(&&*key) && !text.lines().any(is_told) {
                wrong.insert(format!("{key} = {default} is not told"));
            }
        }
    }
    let mut tests = 0;
    for (file, test) in text.split('`').filter_map(|code| code.split_once("::")) {
        tests += 1;
        let file = root.join(format!("tests/it/{file}.rs"));
        let is_there = fs::read_to_string(&file)
            .is_ok_and(|text| text.contains(&format!("\nasync fn {test}()")));
        if !is_there {
            wrong.insert(format!("{} has no {test}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "docs/limits.md: {wrong:#?}");
    assert!(tests > 30, "{tests}");
}

/// `# key = value`, as the sample shows a default.
fn default(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("# ")?.split_once(" = ")?;
    let value = value.split('#').next()?.trim().trim_matches('"');
    let is_key = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_key.then_some((key, value))
}
