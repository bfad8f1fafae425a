//! `portcullis user`: accounts, from the command line. What is changed here holds in running
//! gateways within a second.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use crate::cli::ask;
use crate::cli::opened::Opened;
use crate::config::Config;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Password;
use crate::domain::PasswordHash;
use crate::domain::Role;
use crate::domain::User;
use crate::domain::Username;
use crate::password::Hasher;
use crate::password::weakness;
use crate::store::NewUser;
use crate::store::Open;
use crate::store::UserChange;
use crate::telemetry::metrics::Metrics;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account; the password is asked for, or read from standard input
    Add(Add),
    /// List all accounts
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one account
    Show {
        /// Username, e-mail address or id
        user: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Change an account
    Set(Set),
    /// Delete an account; its username is never given to anybody else
    Delete {
        /// Username, e-mail address or id
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// End an account's sessions and let it sign in nowhere
    Disable {
        /// Username, e-mail address or id
        user: String,
    },
    /// Let a disabled account sign in again
    Enable {
        /// Username, e-mail address or id
        user: String,
    },
    /// Set a new password and end all sessions
    Password {
        /// Username, e-mail address or id
        user: String,
        /// Read the password from this file
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// End all sessions of one account, or of all
    Logout {
        /// Username, e-mail address or id
        #[arg(required_unless_present = "all")]
        user: Option<String>,
        /// Of every account
        #[arg(long, conflicts_with = "user")]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// A username or an e-mail address
    name: String,
    /// An e-mail address beside the username
    #[arg(long)]
    email: Option<String>,
    /// What the person is called
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// A role; may be repeated
    #[arg(long = "role")]
    roles: Vec<String>,
    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// Username, e-mail address or id
    user: String,
    /// A role to give; may be repeated
    #[arg(long = "add-role", value_name = "ROLE")]
    add_roles: Vec<String>,
    /// A role to take away; may be repeated
    #[arg(long = "remove-role", value_name = "ROLE")]
    remove_roles: Vec<String>,
    /// A new username; the old one stays this person's for ever
    #[arg(long)]
    username: Option<String>,
    /// A new e-mail address, unverified unless --email-verified says otherwise
    #[arg(long)]
    email: Option<String>,
    /// Whether the address is known to be the person's own
    #[arg(long, value_name = "BOOL")]
    email_verified: Option<bool>,
    /// What the person is called
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
}

/// Runs one of the commands; exit code 1 where an account is not found or the change is refused.
///
/// # Errors
///
/// The store cannot be opened or does not do it.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let how = match &arguments.command {
        Command::Add(_) => Open::Create,
        _ => Open::Existing,
    };
    let opened = Opened::open(config, how).await?;
    match arguments.command {
        Command::Add(add) => make(config, &opened, add, output).await?,
        Command::List { json } => list(&opened, json, output).await?,
        Command::Show { user, json } => show(&opened.user(&user).await?, json, output)?,
        Command::Set(set) => change(&opened, set, output).await?,
        Command::Delete { user, yes } => {
            let user = opened.user(&user).await?;
            let question = format!(
                "Delete {} ({}) for ever?",
                user.preferred_username(),
                user.id
            );
            if !yes && !ask::confirm(&question)? {
                bail!("nothing was deleted; --yes does not ask");
            }
            opened
                .store
                .delete_user(user.id, opened.clock.now())
                .await?;
            writeln!(output, "deleted {}", user.preferred_username())?;
        }
        Command::Disable { user } => able(&opened, &user, false, output).await?,
        Command::Enable { user } => able(&opened, &user, true, output).await?,
        Command::Password {
            user,
            password_file,
        } => {
            let user = opened.user(&user).await?;
            let hash = new_password(config, password_file, &user.names()).await?;
            let now = opened.clock.now();
            let ended = opened.store.set_password(user.id, &hash, now).await?;
            let name = user.preferred_username();
            writeln!(
                output,
                "{name} has a new password; {} sessions ended",
                ended.len()
            )?;
        }
        Command::Logout { user, .. } => logout(&opened, user.as_deref(), output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn make(
    config: &Config,
    opened: &Opened,
    add: Add,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let (username, mut email) = if add.name.contains('@') {
        (None, Some(EmailAddress::parse(&add.name)?))
    } else {
        (Some(Username::parse(&add.name)?), None)
    };
    if let Some(beside) = &add.email {
        if email.is_some() {
            bail!("the e-mail address is given twice");
        }
        email = Some(EmailAddress::parse(beside)?);
    }
    let name = add
        .display_name
        .as_deref()
        .map(DisplayName::parse)
        .transpose()?;
    let mut roles = parse_roles(&add.roles)?;
    roles.sort_unstable();
    roles.dedup();
    let context = [add.name.as_str(), add.email.as_deref().unwrap_or_default()];
    let password = new_password(config, add.password_file, &context).await?;
    let new = NewUser {
        username,
        email,
        name,
        roles,
        password,
    };
    let user = opened.store.create_user(new, opened.clock.now()).await?;
    writeln!(output, "made {} ({})", user.preferred_username(), user.id)?;
    Ok(())
}

async fn list(opened: &Opened, json: bool, output: &mut dyn io::Write) -> anyhow::Result<()> {
    let users = opened.store.users().await?;
    if json {
        let users: Vec<_> = users.iter().map(as_json).collect();
        writeln!(output, "{:#}", json!(users))?;
        return Ok(());
    }
    writeln!(
        output,
        "{:<36}  {:<24}  {:<32}  {:<8}  ROLES",
        "ID", "USERNAME", "EMAIL", "STATE"
    )?;
    for user in &users {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        writeln!(
            output,
            "{:<36}  {:<24}  {:<32}  {:<8}  {}",
            user.id.to_string(),
            text(user.username.as_ref().map(Username::as_str)),
            text(user.email.as_ref().map(EmailAddress::as_str)),
            state(user),
            role_names(user).join(",")
        )?;
    }
    Ok(())
}

fn show(user: &User, json: bool, output: &mut dyn io::Write) -> anyhow::Result<()> {
    let shown = as_json(user);
    if json {
        writeln!(output, "{shown:#}")?;
        return Ok(());
    }
    for (key, value) in shown.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        writeln!(output, "{key:<15} {value}")?;
    }
    Ok(())
}

async fn change(opened: &Opened, set: Set, output: &mut dyn io::Write) -> anyhow::Result<()> {
    let user = opened.user(&set.user).await?;
    let change = UserChange {
        username: set
            .username
            .as_deref()
            .map(Username::parse)
            .transpose()?
            .map(Some),
        email: set
            .email
            .as_deref()
            .map(EmailAddress::parse)
            .transpose()?
            .map(Some),
        email_verified: set.email_verified,
        name: set
            .display_name
            .as_deref()
            .map(DisplayName::parse)
            .transpose()?
            .map(Some),
        add_roles: parse_roles(&set.add_roles)?,
        remove_roles: parse_roles(&set.remove_roles)?,
        disabled: None,
    };
    let user = opened
        .store
        .change_user(user.id, change, opened.clock.now())
        .await?;
    show(&user, false, output)
}

async fn able(
    opened: &Opened,
    user: &str,
    enable: bool,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let user = opened.user(user).await?;
    let change = UserChange {
        disabled: Some(!enable),
        ..UserChange::default()
    };
    let now = opened.clock.now();
    let user = opened.store.change_user(user.id, change, now).await?;
    writeln!(output, "{} is {}", user.preferred_username(), state(&user))?;
    Ok(())
}

async fn logout(
    opened: &Opened,
    user: Option<&str>,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let users = match user {
        Some(user) => vec![opened.user(user).await?],
        None => opened.store.users().await?,
    };
    let mut ended = 0;
    for user in users {
        let sessions = opened
            .store
            .end_sessions(user.id, None, opened.clock.now())
            .await?;
        ended += sessions.len();
    }
    writeln!(output, "{ended} sessions ended")?;
    Ok(())
}

/// Asks for a password, judges it as registration would, and hashes it.
async fn new_password(
    config: &Config,
    file: Option<PathBuf>,
    context: &[&str],
) -> anyhow::Result<PasswordHash> {
    let password: Password = match file {
        Some(file) => ask::password_from(&file)?,
        None => ask::password()?,
    };
    if let Some(why) = weakness(&password, &config.accounts, context) {
        bail!("this password is too weak: {why}");
    }
    let hasher = Hasher::start(&config.hashing, Metrics::new().hashing())?;
    Ok(hasher.hash(password).await?)
}

fn parse_roles(roles: &[String]) -> anyhow::Result<Vec<Role>> {
    let roles = roles.iter().map(|role| Role::parse(role));
    Ok(roles.collect::<Result<_, _>>()?)
}

fn role_names(user: &User) -> Vec<&str> {
    user.roles.iter().map(Role::as_str).collect()
}

fn state(user: &User) -> &'static str {
    if user.disabled { "disabled" } else { "active" }
}

fn as_json(user: &User) -> serde_json::Value {
    json!({
        "id": user.id.to_string(),
        "username": user.username.as_ref().map(Username::as_str),
        "email": user.email.as_ref().map(EmailAddress::as_str),
        "email_verified": user.email_verified,
        "name": user.name.as_ref().map(DisplayName::as_str),
        "roles": role_names(user),
        "state": state(user),
        "created_at": humantime::format_rfc3339_seconds(user.created_at).to_string(),
    })
}
