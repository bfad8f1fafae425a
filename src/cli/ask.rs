//! Questions to the person at the terminal. Secrets are read here, never from an argument.

use std::fs;
use std::io;
use std::io::BufRead as _;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use anyhow::bail;
use rustix::termios;
use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;

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
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Password::new(line.to_owned()))
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
