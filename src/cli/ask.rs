//! Questions to the person at the terminal. Secrets are read here, never from an argument.

use std::fs::File;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::IsTerminal as _;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use anyhow::bail;
use rustix::termios;
use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;
use zeroize::Zeroizing;

use crate::domain::Password;

/// Asks twice on a terminal, without showing it; elsewhere reads one line of standard input.
pub(super) fn password() -> anyhow::Result<Password> {
    if !io::stdin().is_terminal() {
        return line().map(Password::new);
    }
    let first = hidden("Password: ")?;
    if hidden("Once more: ")? != first {
        bail!("the two are not the same; nothing was done");
    }
    Ok(Password::new(first))
}

/// Reads the first line of a file.
pub(super) fn password_from(file: &Path) -> anyhow::Result<Password> {
    let cannot = || format!("cannot read {}", file.display());
    let opened = File::open(file).with_context(cannot)?;
    let mut line = Zeroizing::new(String::new());
    // More than any password, so that a file without end is refused as one that is too long.
    let bytes_max = Password::BYTES_MAX as u64 + 2;
    let mut opened = BufReader::new(opened.take(bytes_max));
    opened.read_line(&mut line).with_context(cannot)?;
    Ok(Password::new(
        line.trim_end_matches(['\n', '\r']).to_owned(),
    ))
}

/// A token, from standard input.
pub(super) fn token() -> anyhow::Result<String> {
    line().map(|line| line.trim().to_owned())
}

/// Yes or no; without a terminal there is nobody to say yes.
pub(super) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut terminal = io::stderr();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let answer = line()?;
    Ok(matches!(answer.as_str(), "y" | "Y" | "yes"))
}

fn hidden(prompt: &str) -> anyhow::Result<String> {
    let mut terminal = io::stderr();
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let shown = termios::tcgetattr(io::stdin()).context("cannot hide what is typed")?;
    let mut quiet = shown.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
    let typed = line();
    termios::tcsetattr(io::stdin(), OptionalActions::Flush, &shown)?;
    writeln!(terminal)?;
    typed
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("nothing was typed");
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
