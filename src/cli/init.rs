//! `portcullis init [DIR]`: a short file to start from.
//!
//! It never writes over a file that is there.

use std::fs;
use std::io::ErrorKind;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::disk;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder to write gateway.toml into
    #[arg(default_value = ".")]
    directory: PathBuf,
}

/// Writes the file and says what comes next; exit code 1 where there is one already.
///
/// # Errors
///
/// The folder or the file cannot be written.
pub(super) fn run(
    arguments: &Arguments,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    let path = directory.join("gateway.toml");
    let shown = path.display();
    fs::create_dir_all(directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    match disk::write_new(&path, TEMPLATE.as_bytes(), 0o644) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            writeln!(errors, "{shown} is there already; it is left as it is")?;
            return Ok(ExitCode::from(1));
        }
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be written")),
    }
    writeln!(
        output,
        "wrote {shown}; next: portcullis serve --config {shown}"
    )?;
    Ok(ExitCode::SUCCESS)
}

const TEMPLATE: &str = include_str!("init.toml");

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::Secrets;

    use super::*;

    #[test]
    fn the_file_is_short_and_good_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("new");
        let arguments = Arguments {
            directory: directory.clone(),
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());

        let code = run(&arguments, &mut output, &mut errors).expect("it is written");
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(errors.is_empty());
        let file = directory.join("gateway.toml");
        let loaded = Config::check(&file, Secrets::Read).expect("it is good");
        assert_eq!(loaded.warnings, []);
        assert!(TEMPLATE.lines().count() <= 30);

        fs::write(&file, "mine").expect("it is changed");
        let code = run(&arguments, &mut output, &mut errors).expect("it is refused");
        assert_eq!(code, ExitCode::from(1));
        assert!(!errors.is_empty());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "mine");
    }
}
