//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 refused or not found, 2 the arguments or the file are wrong.

mod ask;
mod check;
mod client;
mod explain;
mod init;
mod key;
mod opened;
mod serve;
mod token;
mod user;
mod words;

use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use clap::Subcommand;
use rustix::process::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::certificates;
use crate::config::Config;
use crate::config::Problems;
use crate::keys;

/// Where the file is looked for when nobody says.
const FILES: [&str; 2] = ["gateway.toml", "/etc/portcullis/gateway.toml"];

#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 100)]
struct Arguments {
    /// The configuration file [default: ./gateway.toml, then /etc/portcullis/gateway.toml]
    #[arg(
        long,
        short,
        global = true,
        env = "PORTCULLIS_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; alone, `portcullis` does this
    Serve(serve::Arguments),
    /// Show every problem of the file at once, then its routes and what is odd
    Check(check::Arguments),
    /// Show which route a request takes, who may pass, and what the app would see
    Explain(explain::Arguments),
    /// Manage accounts
    User(user::Arguments),
    /// Manage OAuth clients
    Client(client::Arguments),
    /// Manage signing keys
    Key(key::Arguments),
    /// Make a token useless
    Token(token::Arguments),
    /// Write a short gateway.toml to start from
    Init(init::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    certificates::install_provider();
    keys::install_provider();
    let arguments = Arguments::parse();
    let (mut output, mut errors) = (io::stdout(), io::stderr());
    match run(arguments, &mut output, &mut errors) {
        Ok(code) => code,
        Err(error) => {
            let code = if error.is::<Problems>() { 2 } else { 1 };
            // Nobody may be listening any more: then there is nobody to tell.
            let _ = writeln!(errors, "{error:#}");
            ExitCode::from(code)
        }
    }
}

fn run(
    arguments: Arguments,
    output: &mut dyn io::Write,
    errors: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let command = arguments
        .command
        .unwrap_or_else(|| Command::Serve(serve::Arguments::default()));
    let file = arguments.config.or_else(find_file);
    match (command, file) {
        (Command::Init(init), _) => block_on(async { init::run(&init, output, errors) }),
        (_, None) => {
            writeln!(
                errors,
                "there is no configuration: neither --config nor PORTCULLIS_CONFIG says where, and \
                 there is none at {}; `portcullis init` writes one",
                FILES.join(" or ")
            )?;
            Ok(ExitCode::from(2))
        }
        (Command::Check(check), Some(file)) => check::run(&file, &check, output, errors),
        (Command::Explain(explain), Some(file)) => {
            let config = Config::load(&file)?;
            block_on(explain::run(config, explain, output))
        }
        (Command::User(user), Some(file)) => {
            block_on(user::run(&Config::load(&file)?, user, output))
        }
        (Command::Client(client), Some(file)) => {
            block_on(client::run(&Config::load(&file)?, client, output, errors))
        }
        (Command::Key(key), Some(file)) => block_on(key::run(&Config::load(&file)?, key, output)),
        (Command::Token(token), Some(file)) => {
            block_on(token::run(&Config::load(&file)?, token, output))
        }
        (Command::Serve(serve), Some(file)) => serve::run(Config::load(&file)?, &serve, errors),
    }
}

fn find_file() -> Option<PathBuf> {
    FILES.iter().map(PathBuf::from).find(|file| file.exists())
}

/// A runtime for commands that are soon over.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            outlive_full_files()?;
            future.await
        })
}

/// A file that may not grow any more is an error like a full disk, not the end of the process.
fn outlive_full_files() -> anyhow::Result<()> {
    let full = SignalKind::from_raw(Signal::XFSZ.as_raw());
    // Once it is handled it stays so, whether or not anybody listens.
    signal(full).context("cannot watch for SIGXFSZ").map(drop)
}
