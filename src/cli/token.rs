//! `portcullis token`: makes a token useless that should not be about.

use std::io;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use crate::cli::ask;
use crate::cli::opened::Opened;
use crate::config::Config;
use crate::domain::SessionId;
use crate::store::Open;
use crate::token::opaque::RefreshToken;
use crate::token::verify::Claims;
use crate::token::verify::Invalid;
use crate::token::verify::Verifier;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End the session of a token, and with it all its tokens
    Revoke {
        /// `-`: the token is read from standard input, never from an argument
        #[arg(value_parser = ["-"])]
        token: String,
    },
}

/// Runs one of the commands.
///
/// # Errors
///
/// The store cannot be opened, or the token is not one of ours.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let Command::Revoke { .. } = arguments.command;
    let opened = Opened::open(config, Open::Existing).await?;
    let session = session_of(config, &opened, &ask::token()?).await?;
    let ended = opened
        .store
        .end_session(session, opened.clock.now())
        .await?;
    if ended.is_empty() {
        writeln!(output, "session {session} had ended before")?;
    } else {
        writeln!(
            output,
            "session {session} is ended, and with it all its tokens"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn session_of(config: &Config, opened: &Opened, token: &str) -> anyhow::Result<SessionId> {
    if let Some(refresh) = RefreshToken::parse(&opened.vault, token) {
        return Ok(refresh.session());
    }
    let now = opened.clock.now();
    let keys = opened.ring.reload(now).await?;
    let verifier = Verifier::new(config.gateway.issuer(), config.audiences());
    match verifier.verify(&keys, token, now) {
        Ok(Claims {
            session: Some(session),
            ..
        }) => Ok(session),
        Err(Invalid::Expired) => bail!(
            "the access token has expired by itself; to end its session give its refresh token, \
             or use `portcullis user logout`"
        ),
        Ok(_) | Err(_) => {
            bail!("this is neither an access token nor a refresh token of this gateway")
        }
    }
}
