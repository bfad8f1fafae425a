//! `portcullis token`: personal tokens, and an end to any token that should not be about.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::bail;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::account::tokens::Asked;
use crate::account::tokens::TOKENS_MAX;
use crate::account::tokens::shown;
use crate::cli::ask;
use crate::cli::opened::Opened;
use crate::config::Config;
use crate::domain::SessionId;
use crate::store::NewPersonalToken;
use crate::store::Open;
use crate::store::PersonalTokenMade;
use crate::token::opaque::RefreshToken;
use crate::token::personal::PersonalTokens;
use crate::token::verify::Claims;
use crate::token::verify::Invalid;
use crate::token::verify::Verifier;
use crate::vault::fresh_id;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a personal token for somebody; it is shown once
    Issue(Issuing),
    /// List the living personal tokens of one account, or of all
    List {
        /// Username, e-mail address or id; when left out: everybody
        user: Option<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// End a personal token by its id; or the session of a token, and with it all its tokens
    Revoke {
        /// The id that `token list` shows; or `-`: a token of any kind is read from standard input, never from
        /// an argument
        #[arg(value_name = "ID")]
        token: String,
    },
}

#[derive(Debug, clap::Args)]
struct Issuing {
    /// Whose: username, e-mail address or id
    user: String,
    /// What its owner is to know it by
    #[arg(long)]
    name: String,
    /// What it holds; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long it lives, such as 90d; at most 366d
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    expires_in: Duration,
}

/// Runs one of the commands.
///
/// # Errors
///
/// The store cannot be opened, there is no such account or token, or what is asked for cannot be had.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let opened = Opened::open(config, Open::Existing).await?;
    match arguments.command {
        Command::Issue(issuing) => issue(config, &opened, issuing, output).await?,
        Command::List { user, json } => list(&opened, user.as_deref(), json, output).await?,
        Command::Revoke { token } if token == "-" => {
            end_session(config, &opened, &ask::token()?, output).await?;
        }
        Command::Revoke { token } => end_personal(&opened, &token, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn issue(
    config: &Config,
    opened: &Opened,
    issuing: Issuing,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let user = opened.user(&issuing.user).await?;
    let asked = Asked {
        name: issuing.name,
        scopes: issuing.scopes,
        expires_in: Some(issuing.expires_in.as_secs()),
    };
    let may_hold = &config.accounts.login_scopes;
    let may_hold_nothing = config.admits_bare_tokens();
    let now = opened.clock.now();
    let id = SessionId::new(fresh_id(now));
    let token = asked.check(id, user.id, may_hold, may_hold_nothing, now);
    let token = token.map_err(|problem| {
        let fields = problem.fields.iter();
        let why: Vec<_> = fields
            .map(|it| format!("{}: {}", it.name, it.detail))
            .collect();
        anyhow!(why.join("\n"))
    })?;
    let new = NewPersonalToken {
        token,
        address: Ipv4Addr::LOCALHOST.into(),
        asked_in: None,
        tokens_max: TOKENS_MAX,
    };
    let name = user.preferred_username();
    match opened.store.make_personal_token(new).await? {
        PersonalTokenMade::Done => {}
        PersonalTokenMade::Before => bail!("there is such a token already"),
        PersonalTokenMade::TooMany => bail!("{name} has {TOKENS_MAX} personal tokens already"),
        PersonalTokenMade::SignedOut => bail!("{name} is disabled"),
    }
    let tokens = PersonalTokens::new(&opened.vault);
    writeln!(output, "{}", tokens.reveal(id).as_str())?;
    Ok(())
}

async fn list(
    opened: &Opened,
    user: Option<&str>,
    json: bool,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let of = match user {
        Some(user) => Some(opened.user(user).await?.id),
        None => None,
    };
    let tokens = opened.store.personal_tokens(of, opened.clock.now()).await?;
    let users = opened.store.users().await?;
    let names: HashMap<_, _> = users
        .iter()
        .map(|it| (it.id, it.preferred_username()))
        .collect();
    let listed = tokens.iter().map(|token| {
        let mut listed = shown(token);
        if let Some(members) = listed.as_object_mut() {
            members.insert("user".to_owned(), names.get(&token.user).cloned().into());
        }
        listed
    });
    let listed: Vec<_> = listed.collect();
    if json {
        writeln!(output, "{:#}", json!(listed))?;
        return Ok(());
    }
    writeln!(
        output,
        "{:<36}  {:<24}  {:<24}  {:<20}  {:<20}  SCOPES",
        "ID", "USER", "NAME", "ENDS", "LAST USED"
    )?;
    for token in &listed {
        let [id, user, name, ends, used] = ["id", "user", "name", "expires_at", "last_used_at"]
            .map(|member| token[member].as_str().unwrap_or("-"));
        let scopes = token["scopes"].as_array().into_iter().flatten();
        let scopes: Vec<_> = scopes.filter_map(Value::as_str).collect();
        let scopes = scopes.join(" ");
        writeln!(
            output,
            "{id:<36}  {user:<24}  {name:<24}  {ends:<20}  {used:<20}  {scopes}"
        )?;
    }
    Ok(())
}

async fn end_personal(opened: &Opened, id: &str, output: &mut dyn io::Write) -> anyhow::Result<()> {
    let token = SessionId::parse(id).map_err(|_| {
        anyhow!(
            "a personal token is named by the id that `portcullis token list` shows; a token itself is read from \
             standard input: portcullis token revoke -"
        )
    })?;
    let ending = opened
        .store
        .end_personal_token(token, None, opened.clock.now());
    if ending.await?.is_empty() {
        bail!("there is no living personal token {token}");
    }
    writeln!(output, "personal token {token} is ended")?;
    Ok(())
}

async fn end_session(
    config: &Config,
    opened: &Opened,
    token: &str,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let session = session_of(config, opened, token).await?;
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
    Ok(())
}

async fn session_of(config: &Config, opened: &Opened, token: &str) -> anyhow::Result<SessionId> {
    if let Some(refresh) = RefreshToken::parse(&opened.vault, token) {
        return Ok(refresh.session());
    }
    if let Some(personal) = PersonalTokens::new(&opened.vault).read(token.as_bytes()) {
        return Ok(personal);
    }
    let now = opened.clock.now();
    let keys = opened.ring.reload(now).await?;
    let verifier = Verifier::new(config.gateway.issuer());
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
            bail!("this is no access token, refresh token or personal token of this gateway")
        }
    }
}
