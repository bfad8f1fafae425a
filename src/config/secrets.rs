//! References in strings: `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}` and
//! `${credential:NAME}`.
//!
//! This room must never put what a reference stands for into an error.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Secrets;

/// Where references are looked up.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a> {
    /// The configuration file's folder.
    pub(super) folder: &'a Path,
    pub(super) secrets: Secrets,
    /// The environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A string with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The text; as it was written where it is not `known`.
    pub(super) text: String,
    /// Not where [`Secrets::Offline`] left references alone.
    pub(super) known: bool,
    /// Files of secrets that everybody may read.
    pub(super) readable_by_others: Vec<PathBuf>,
}

/// Why a reference stands for nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("a \"${{\" has no \"}}\"")]
    Unclosed,
    #[error(
        "${{{0}}} is none of ${{env:NAME}}, ${{env:NAME:-default}}, ${{file:PATH}} and \
         ${{credential:NAME}}"
    )]
    Unknown(String),
    #[error("the environment has no variable {0}; set it, or write ${{env:{0}:-default}}")]
    NoVariable(String),
    #[error("${{credential:{0}}} needs systemd: $CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    #[error("{path} cannot be read: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("others may write {path}, so it proves nothing; chmod 600 it", path = .0.display())]
    Writable(PathBuf),
    #[error("{path} is larger than 64 KiB, too large for a secret", path = .0.display())]
    TooLarge(PathBuf),
}

/// Replaces the references of a string. A `$` without `{` is a plain character.
pub(super) fn expand(written: &str, lookup: &Lookup<'_>) -> Result<Expanded, Unresolved> {
    let mut expanded = Expanded {
        text: String::new(),
        known: true,
        readable_by_others: Vec::new(),
    };
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, after) = after.split_once('}').ok_or(Unresolved::Unclosed)?;
        let reference = Reference::parse(reference)?;
        expanded.text.push_str(before);
        match lookup.secrets {
            Secrets::Read => resolve(reference, lookup, &mut expanded)?,
            Secrets::Offline => expanded.known = false,
        }
        rest = after;
    }
    expanded.text.push_str(rest);
    if !expanded.known {
        expanded.text = written.to_owned();
    }
    Ok(expanded)
}

/// A text of the file as messages may show it: what stands before the `@` of a URL is a password.
pub(super) fn shown(written: &str) -> Cow<'_, str> {
    let Some((before, after)) = written.rsplit_once('@') else {
        return written.into();
    };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://...@{after}").into(),
        None if before.contains(':') => format!("...@{after}").into(),
        None => written.into(),
    }
}

/// The path of a string that is one `${file:PATH}` and nothing else.
pub(super) fn file_reference(written: &str) -> Option<&str> {
    let reference = written.strip_prefix("${")?.strip_suffix('}')?;
    match Reference::parse(reference) {
        Ok(Reference::File(path)) if !path.contains('}') => Some(path),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Reference<'a> {
    Variable {
        name: &'a str,
        default: Option<&'a str>,
    },
    File(&'a str),
    Credential(&'a str),
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Result<Self, Unresolved> {
        let reference = match text.split_once(':') {
            Some(("env", variable)) => {
                let (name, default) = match variable.split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (variable, None),
                };
                is_variable(name).then_some(Self::Variable { name, default })
            }
            Some(("file", path)) => (!path.is_empty()).then_some(Self::File(path)),
            Some(("credential", name)) => is_file_name(name).then_some(Self::Credential(name)),
            _ => None,
        };
        reference.ok_or_else(|| Unresolved::Unknown(text.to_owned()))
    }
}

fn is_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(legal)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

/// A name that cannot leave the folder it is looked up in.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(only)), None) if only == name
    )
}

fn resolve(
    reference: Reference<'_>,
    lookup: &Lookup<'_>,
    expanded: &mut Expanded,
) -> Result<(), Unresolved> {
    match reference {
        // As in a shell, `:-` stands for an empty variable as well.
        Reference::Variable {
            name,
            default: Some(default),
        } => {
            let value = (lookup.variable)(name).filter(|value| !value.is_empty());
            expanded.text.push_str(value.as_deref().unwrap_or(default));
        }
        Reference::Variable {
            name,
            default: None,
        } => {
            let value = (lookup.variable)(name);
            let value = value.ok_or_else(|| Unresolved::NoVariable(name.to_owned()))?;
            expanded.text.push_str(&value);
        }
        Reference::File(path) => read(lookup.folder.join(path), expanded)?,
        Reference::Credential(name) => {
            let folder = (lookup.variable)("CREDENTIALS_DIRECTORY");
            let folder = folder.ok_or_else(|| Unresolved::NoCredentials(name.to_owned()))?;
            read(Path::new(&folder).join(name), expanded)?;
        }
    }
    Ok(())
}

fn read(path: PathBuf, expanded: &mut Expanded) -> Result<(), Unresolved> {
    let (secret, mode) = match read_with_mode(&path) {
        Ok(read) => read,
        Err(error) => return Err(Unresolved::Unreadable { path, error }),
    };
    if mode & 0o022 != 0 {
        return Err(Unresolved::Writable(path));
    }
    if secret.len() > SECRET_BYTES_MAX {
        return Err(Unresolved::TooLarge(path));
    }
    expanded
        .text
        .push_str(secret.strip_suffix('\n').unwrap_or(&secret));
    if mode & 0o044 != 0 {
        expanded.readable_by_others.push(path);
    }
    Ok(())
}

/// The text, of which one byte too many is enough, and the mode of the very file it came from.
fn read_with_mode(path: &Path) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut secret = String::new();
    file.take(SECRET_BYTES_MAX as u64 + 1)
        .read_to_string(&mut secret)?;
    Ok((secret, mode))
}

const SECRET_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::proptest;
    use tempfile::TempDir;

    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/ann".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(folder: &Path, secrets: Secrets, written: &str, expected: Result<&str, &str>) {
        let lookup = Lookup {
            folder,
            secrets,
            variable: &variable,
        };
        match (expand(written, &lookup), expected) {
            (Ok(expanded), Ok(text)) => assert_eq!(expanded.text, text),
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message}");
            }
            (found, expected) => panic!("{written}: {found:?}, not {expected:?}"),
        }
    }

    fn write(folder: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
        path
    }

    #[test]
    fn variables_and_their_defaults() {
        let here = |written, expected| check(Path::new("."), Secrets::Read, written, expected);
        here("plain $5 } text", Ok("plain $5 } text"));
        here("${env:HOME}/x", Ok("/home/ann/x"));
        here("${env:HOME}${env:HOME}", Ok("/home/ann/home/ann"));
        here("${env:NONE:-else}", Ok("else"));
        here("${env:EMPTY:-else}", Ok("else"));
        here("${env:EMPTY}", Ok(""));
        here("${env:NONE}", Err("no variable NONE"));
        here("${env:HOME", Err("has no \"}\""));
        for form in [
            "${}",
            "${HOME}",
            "${env:}",
            "${env:1A}",
            "${env:A B}",
            "${file:}",
            "${vault:x}",
        ] {
            here(form, Err("is none of"));
        }
    }

    // SECURITY 59
    #[test]
    fn a_secret_file_must_be_the_owners_own() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder, "good", "s3cret\n\n", 0o600);
        write(&folder, "writable", "s3cret", 0o620);
        write(&folder, "large", &"x".repeat(70_000), 0o600);
        let readable = write(&folder, "readable", "s3cret", 0o644);
        let here = |written, expected| check(folder.path(), Secrets::Read, written, expected);

        here("<${file:good}>", Ok("<s3cret\n>"));
        here("${file:writable}", Err("others may write"));
        here("${file:large}", Err("larger than 64 KiB"));
        here("${file:missing}", Err("missing cannot be read"));

        let lookup = Lookup {
            folder: folder.path(),
            secrets: Secrets::Read,
            variable: &variable,
        };
        let expanded = expand("${file:readable}", &lookup).expect("it may be read");
        assert_eq!(expanded.readable_by_others, [readable]);
    }

    #[test]
    fn credentials_are_systemds() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder, "token", "t0ken\n", 0o400);
        let directory = folder.path().to_str().expect("plain").to_owned();
        let variable =
            move |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.clone());
        let lookup = Lookup {
            folder: Path::new("/"),
            secrets: Secrets::Read,
            variable: &variable,
        };

        let expanded = expand("${credential:token}", &lookup).expect("it is there");
        assert_eq!(expanded.text, "t0ken");
        for form in [
            "${credential:}",
            "${credential:../token}",
            "${credential:..}",
            "${credential:/etc/passwd}",
        ] {
            assert!(
                matches!(expand(form, &lookup), Err(Unresolved::Unknown(_))),
                "{form}"
            );
        }
        check(
            Path::new("."),
            Secrets::Read,
            "${credential:token}",
            Err("needs systemd"),
        );
    }

    #[test]
    fn offline_checks_the_form_alone() {
        let here = |written, expected| check(Path::new("."), Secrets::Offline, written, expected);
        here("a ${env:NONE} b", Ok("a ${env:NONE} b"));
        here("${file:missing}", Ok("${file:missing}"));
        here("${nonsense}", Err("is none of"));
    }

    #[test]
    fn a_file_reference_stands_alone() {
        assert_eq!(
            file_reference("${file:data/store.key}"),
            Some("data/store.key")
        );
        for other in [
            "${file:}",
            "x${file:a}",
            "${file:a}x",
            "${file:a}${file:b}",
            "${env:A}",
            "a",
        ] {
            assert_eq!(file_reference(other), None, "{other}");
        }
    }

    // SECURITY 58
    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for (written, expected) in [
            ("http://ann:hunter2@app:5000", "http://...@app:5000"),
            ("postgres://hunter2@db/x", "postgres://...@db/x"),
            ("http://ann:hun/ter@2@app", "http://...@app"),
            ("ann:hunter2@app", "...@app"),
            ("ann@example.com", "ann@example.com"),
            ("http://app:5000", "http://app:5000"),
        ] {
            assert_eq!(shown(written), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r"(\$|\{|\}|:|-|env|file|credential|[a-z/.é])*") {
            let lookup = Lookup {
                folder: Path::new("/nowhere"),
                secrets: Secrets::Read,
                variable: &variable,
            };
            let _ = (expand(&text, &lookup), file_reference(&text));
        }
    }
}
