//! `portcullis client`: OAuth clients, from the command line. What is changed here holds in running
//! gateways within a second.

use std::io;
use std::process::ExitCode;

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
    /// Make a client that asks for tokens of its own; its secret is shown once
    Add {
        /// Its client_id
        id: String,
        /// A scope that its tokens may hold; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
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

/// Runs one of the commands; exit code 1 where a client is not found or the change is refused.
///
/// # Errors
///
/// The store cannot be opened, or the client is not one that can be changed here.
pub(super) async fn run(
    config: &Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let how = match arguments.command {
        Command::Add { .. } => Open::Create,
        _ => Open::Existing,
    };
    let opened = Opened::open(config, how).await?;
    let (store, now) = (&opened.store, opened.clock.now());
    match arguments.command {
        Command::Add { id, scopes } => {
            let id = changeable(config, &id)?;
            let scopes = scopes.iter().map(|scope| Scope::parse(scope));
            let scopes: Scopes = scopes.collect::<Result<_, _>>()?;
            let secret = new_secret();
            let client = Client {
                id,
                secret: Client::hash(&secret),
                scopes,
                resources: Vec::new(),
            };
            if !store.create_client(&client, now).await? {
                bail!("there is a client {} already", client.id);
            }
            writeln!(output, "{secret}")?;
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
            let id = changeable(config, &id)?;
            found(store.delete_client(&id, now).await?, &id)?;
            writeln!(output, "deleted {id}; its tokens are dead")?;
        }
        Command::RotateSecret { id } => {
            let id = changeable(config, &id)?;
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
        writeln!(output, "{name:<11} {}", value.as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// The id of a client that the file does not declare: what stands there is changed there.
fn changeable(config: &Config, id: &str) -> anyhow::Result<ClientId> {
    let id = ClientId::parse(id)?;
    if id.is_first_party() {
        bail!("{id} is the gateway's own name; choose another");
    }
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
    json!({
        "client_id": client.id.as_str(),
        "from": "file",
        "state": "enabled",
        "scope": client.scopes.to_string(),
    })
}

fn stored_as_json(stored: &StoredClient) -> Value {
    json!({
        "client_id": stored.client.id.as_str(),
        "from": "command",
        "state": if stored.disabled { "disabled" } else { "enabled" },
        "scope": stored.client.scopes.to_string(),
        "created_at": humantime::format_rfc3339_seconds(stored.created_at).to_string(),
    })
}
