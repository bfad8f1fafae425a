//! `portcullis client`: OAuth clients, from the command line. What is changed here holds in running
//! gateways within a second.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::opened::Opened;
use crate::config::Config;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::DisplayName;
use crate::domain::Grant;
use crate::domain::Malformed;
use crate::domain::RedirectUri;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::store::Open;
use crate::store::Store;
use crate::store::StoredClient;
use crate::vault::random;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a client; its secret is shown once
    Add(Adding),
    /// List all clients: those of the file and those that were made here
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one client
    Show {
        /// Its client_id
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// End a client's tokens and give it no more
    Disable {
        /// Its client_id
        id: String,
    },
    /// Let a disabled client ask for tokens again
    Enable {
        /// Its client_id
        id: String,
    },
    /// Delete a client and end its tokens
    Delete {
        /// Its client_id
        id: String,
    },
    /// Give a client another secret, shown once; the old one and its tokens are dead
    RotateSecret {
        /// Its client_id
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Adding {
    /// Its client_id
    id: String,
    /// What people are told it is called
    #[arg(long)]
    name: Option<String>,
    /// It can keep no secret, as an app on people's machines
    #[arg(long)]
    public: bool,
    /// Where codes may be sent; may be repeated
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where people may be sent once they have signed out; may be repeated
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Vec<String>,
    /// A scope that its tokens may hold; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// By what it may get tokens; may be repeated. When left out: authorization_code and refresh_token where
    /// there is a --redirect-uri, else client_credentials
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// Whether people are asked: ask or skip
    #[arg(long, value_name = "WORD", default_value = "ask")]
    consent: String,
    /// A role of the people who may sign in with it; may be repeated. When left out: everybody
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A resource outside this gateway for which it may ask tokens (RFC 8707), such as
    /// https://api.example.com; may be repeated
    #[arg(long = "resource", value_name = "URL")]
    resources: Vec<String>,
}

/// Runs one of the commands; exit code 1 where a client is not found or the change is refused.
///
/// # Errors
///
/// The store cannot be opened, or the client is not one that can be changed here.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
    errors: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let how = match arguments.command {
        Command::Add(_) => Open::Create,
        _ => Open::Existing,
    };
    let opened = Opened::open(config, how).await?;
    let (store, now) = (&opened.store, opened.clock.now());
    match arguments.command {
        Command::Add(adding) => {
            let secret = (!adding.public).then(new_secret);
            let client = client(config, &adding, secret.as_deref())?;
            if !store.create_client(&client, now).await? {
                bail!("there is a client {} already", client.id);
            }
            if let Some((key, why)) = client.risk() {
                writeln!(errors, "warning: {key}: {why}")?;
            }
            match secret {
                Some(secret) => writeln!(output, "{secret}")?,
                None => writeln!(output, "made {}; it is public and has no secret", client.id)?,
            }
        }
        Command::List { json } => list(config, store, json, output).await?,
        Command::Show { id, json } => show(config, store, &id, json, output).await?,
        Command::Disable { id } => {
            let id = changeable(config, &id)?;
            found(store.disable_client(&id, now).await?, &id)?;
            writeln!(output, "disabled {id}; its tokens are dead")?;
        }
        Command::Enable { id } => {
            let id = changeable(config, &id)?;
            found(store.enable_client(&id).await?, &id)?;
            writeln!(output, "enabled {id}")?;
        }
        Command::Delete { id } => {
            // One that was made before its name was reserved has to go.
            let id = undeclared(config, &id)?;
            found(store.delete_client(&id, now).await?, &id)?;
            writeln!(output, "deleted {id}; its tokens are dead")?;
        }
        Command::RotateSecret { id } => {
            let id = changeable(config, &id)?;
            let known = store.client(&id).await?;
            if known.is_some_and(|known| known.client.is_public()) {
                bail!("{id} is public and has no secret");
            }
            let secret = new_secret();
            let rotated = store.rotate_client_secret(&id, Client::hash(&secret), now);
            found(rotated.await?, &id)?;
            writeln!(output, "{secret}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    config: &Config,
    store: &Store,
    json: bool,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let stored = store.clients().await?;
    let declared = config.clients.iter().map(declared);
    let clients: Vec<_> = declared.chain(stored.iter().map(stored_as_json)).collect();
    if json {
        writeln!(output, "{:#}", json!(clients))?;
        return Ok(());
    }
    writeln!(
        output,
        "{:<24}  {:<8}  {:<8}  SCOPES",
        "ID", "FROM", "STATE"
    )?;
    for client in &clients {
        let [id, from, state, scope] = ["client_id", "from", "state", "scope"]
            .map(|name| client[name].as_str().unwrap_or_default());
        writeln!(output, "{id:<24}  {from:<8}  {state:<8}  {scope}")?;
    }
    Ok(())
}

async fn show(
    config: &Config,
    store: &Store,
    id: &str,
    json: bool,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let in_file = config
        .clients
        .iter()
        .find(|client| client.id.as_str() == id);
    let client = match in_file {
        Some(client) => declared(client),
        None => match store.client(&ClientId::parse(id)?).await? {
            Some(client) => stored_as_json(&client),
            None => bail!("there is no client {id}"),
        },
    };
    if json {
        writeln!(output, "{client:#}")?;
        return Ok(());
    }
    for (name, value) in client.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
                items.join(" ")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writeln!(output, "{name:<26} {shown}")?;
    }
    Ok(())
}

/// As the file would read it, in the same words where it contradicts itself.
fn client(config: &Config, adding: &Adding, secret: Option<&str>) -> anyhow::Result<Client> {
    let id = changeable(config, &adding.id)?;
    let scopes: Scopes = all("scope", &adding.scopes, Scope::parse)?
        .into_iter()
        .collect();
    let is_declared = |scope: &Scope| config.scopes.iter().any(|(other, _)| other == scope);
    for scope in scopes.iter() {
        if !scope.is_of_people() && !is_declared(scope) {
            bail!("there is no scope {scope}; put it into words in [scopes]");
        }
    }
    let grants = match (adding.grants.as_slice(), adding.redirect_uris.as_slice()) {
        ([], []) => vec![Grant::ClientCredentials],
        ([], _) => vec![Grant::AuthorizationCode, Grant::RefreshToken],
        (grants, _) => all("grant", grants, Grant::parse)?,
    };
    let client = Client {
        id,
        name: adding.name.as_deref().map(DisplayName::parse).transpose()?,
        secret: secret.map(Client::hash),
        redirect_uris: all("redirect-uri", &adding.redirect_uris, RedirectUri::parse)?,
        post_logout_redirect_uris: all(
            "post-logout-redirect-uri",
            &adding.post_logout_redirect_uris,
            RedirectUri::parse,
        )?,
        scopes,
        grants,
        consent: Consent::parse(&adding.consent)?,
        roles: all("role", &adding.roles, Role::parse)?,
        resources: all("resource", &adding.resources, Resource::parse)?,
    };
    if let Some((key, why)) = client.conflicts().into_iter().next() {
        bail!("{key}: {why}");
    }
    Ok(client)
}

/// What was said by an option, or which of it is wrong and why.
fn all<T>(
    option: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> anyhow::Result<Vec<T>> {
    let parse = |text: &String| parse(text).with_context(|| format!("--{option} {text}"));
    texts.iter().map(parse).collect()
}

/// The id of a client that may be made and changed.
fn changeable(config: &Config, id: &str) -> anyhow::Result<ClientId> {
    let id = undeclared(config, id)?;
    if id.is_reserved() {
        bail!("{id} is the gateway's own name; choose another");
    }
    Ok(id)
}

/// The id of a client that the file does not declare: what stands there is changed there.
fn undeclared(config: &Config, id: &str) -> anyhow::Result<ClientId> {
    let id = ClientId::parse(id)?;
    if config.clients.iter().any(|client| client.id == id) {
        bail!(
            "[clients.{id}] stands in {}; change it there",
            config.file.display()
        );
    }
    Ok(id)
}

fn found(found: bool, id: &ClientId) -> anyhow::Result<()> {
    if found {
        Ok(())
    } else {
        bail!("there is no client {id}")
    }
}

/// 256 random bits: nobody can try them, so a fast hash is enough.
fn new_secret() -> String {
    format!("ptc_cs_{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

fn declared(client: &Client) -> Value {
    shown(client, "file", "enabled")
}

fn stored_as_json(stored: &StoredClient) -> Value {
    let state = if stored.disabled {
        "disabled"
    } else {
        "enabled"
    };
    let mut shown = shown(&stored.client, "command", state);
    let created_at = humantime::format_rfc3339_seconds(stored.created_at).to_string();
    if let Some(members) = shown.as_object_mut() {
        members.insert("created_at".to_owned(), created_at.into());
    }
    shown
}

fn shown(client: &Client, from: &str, state: &str) -> Value {
    let uris = |uris: &[RedirectUri]| uris.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "client_id": client.id.as_str(),
        "name": client.title(),
        "from": from,
        "state": state,
        "public": client.is_public(),
        "scope": client.scopes.to_string(),
        "grants": client.grants.iter().map(|grant| grant.word()).collect::<Vec<_>>(),
        "redirect_uris": uris(&client.redirect_uris),
        "post_logout_redirect_uris": uris(&client.post_logout_redirect_uris),
        "consent": client.consent.word(),
        "roles": client.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "resources": client.resources.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
