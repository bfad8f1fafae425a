//! `portcullis key`: signing keys.

use std::io;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::opened::Opened;
use crate::config::Algorithm;
use crate::config::Config;
use crate::store::KeyPurpose;
use crate::store::KeyState;
use crate::store::Open;
use crate::store::StoredKey;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the signing keys
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the next key sign; the old one verifies until its tokens have expired
    Rotate {
        /// Although verifiers may not know the next key yet
        #[arg(long)]
        force: bool,
    },
    /// Withdraw a leaked key at once: every token it signed is dead
    Revoke {
        /// The key's id, as listed; one in 64 begins with a hyphen
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// Runs one of the commands.
///
/// # Errors
///
/// The store cannot be opened, there is no such key, or it is too soon to rotate.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let opened = Opened::open(config, Open::Existing).await?;
    let now = opened.clock.now();
    match arguments.command {
        Command::List { json: true } => {
            let keys = opened.ring.list().await?;
            let keys: Vec<_> = keys.iter().map(as_json).collect();
            writeln!(output, "{:#}", json!(keys))?;
        }
        Command::List { json: false } => {
            writeln!(
                output,
                "{:<43}  {:<9}  {:<5}  {:<7}  MADE",
                "KID", "PURPOSE", "ALG", "STATE"
            )?;
            for key in opened.ring.list().await? {
                writeln!(
                    output,
                    "{:<43}  {:<9}  {:<5}  {:<7}  {}",
                    key.kid,
                    purpose(&key),
                    algorithm(&key),
                    state(&key),
                    humantime::format_rfc3339_seconds(key.created_at)
                )?;
            }
        }
        Command::Rotate { force } => {
            opened.ring.rotate(force, now).await?;
            writeln!(
                output,
                "rotated: the next keys sign now, and new ones are published"
            )?;
        }
        Command::Revoke { kid } => {
            opened.ring.revoke(&kid, now).await?;
            writeln!(output, "revoked {kid}: every token it signed is dead")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(key: &StoredKey) -> serde_json::Value {
    json!({
        "kid": key.kid,
        "purpose": purpose(key),
        "alg": algorithm(key),
        "state": state(key),
        "created_at": humantime::format_rfc3339_seconds(key.created_at).to_string(),
    })
}

fn purpose(key: &StoredKey) -> &'static str {
    match key.purpose {
        KeyPurpose::Access => "access",
        KeyPurpose::Assertion => "assertion",
    }
}

fn algorithm(key: &StoredKey) -> &'static str {
    match key.algorithm {
        Algorithm::Es256 => "ES256",
        Algorithm::EdDsa => "EdDSA",
    }
}

fn state(key: &StoredKey) -> &'static str {
    match key.state {
        KeyState::Next => "next",
        KeyState::Current => "current",
        KeyState::Retired => "retired",
    }
}
