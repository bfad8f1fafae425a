//! `portcullis explain`: what would become of a request, by the very steps that serve it.
//!
//! It spends nothing and sends nothing. For `--as USER` an access token is made in memory, judged
//! like any other, and never shown. What is refused is asked for once more as a browser goes to a page, which may
//! be sent to sign in.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::bail;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Uri;
use http::header;
use serde_json::Value;
use serde_json::json;

use crate::cli::opened::Opened;
use crate::cli::words;
use crate::config::Auth;
use crate::config::Config;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Grant;
use crate::domain::Handle;
use crate::domain::MachineSession;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::edge::tls;
use crate::gate::Explained;
use crate::gate::inbound::Inbound;
use crate::gate::reject::Refused;
use crate::gate::reject::Rejection;
use crate::gate::request_id::RequestIds;
use crate::gate::route::Route;
use crate::gate::source::Address;
use crate::gate::source::Connection;
use crate::gate::strip::Trust;
use crate::startup;
use crate::store::Open;
use crate::token::issue::AccessTokens;
use crate::vault::fresh_id;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The caller: a user by name, address or id, `client:ID`, or `anonymous`
    #[arg(long = "as", value_name = "CALLER", default_value = "anonymous")]
    caller: String,
    /// What the caller's token holds; all that a login may hold when left out
    #[arg(long)]
    scope: Option<String>,
    /// The resource that the caller's token is for; the gateway when left out
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The address the request comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// The client's certificate, in PEM form; taken as one that a listener has found good
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// The method
    method: Method,
    /// The URL, as a client would ask for it
    url: Uri,
}

/// Explains one request; exit code 1 where it would be refused.
///
/// # Errors
///
/// The store cannot be opened, there is no such user, or the URL has no host.
pub(super) async fn run(
    config: Config,
    arguments: Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let opened = Opened::open(&config, Open::Existing).await?;
    let authorization = authorization(&config, &opened, &arguments).await?;
    let request = request(&arguments, authorization)?;
    let certificate = arguments.client_certificate.as_deref();
    let certificate = certificate.map(tls::client_certificate).transpose()?;
    let connection = Connection {
        peer: Address::new(arguments.from),
        tls: arguments.url.scheme_str() != Some("http"),
        certificate: certificate.map(Rc::new),
    };
    let trust = Trust::new(&config);
    let inbound = |request| Inbound::new(&connection, request, &trust, &RequestIds::default());
    let mut visit = request.clone();
    visit.headers_mut().extend(OF_A_VISIT);
    let (inbound, visit) = match (inbound(request), inbound(visit)) {
        (Ok(inbound), Ok(visit)) => (inbound, visit),
        (Err((malformed, _)), _) | (_, Err((malformed, _))) => {
            let explained = Explained {
                route: None,
                outcome: Err(Rejection::from(malformed).into()),
            };
            return show(&explained, None, &config, &arguments, output);
        }
    };
    let config = Arc::new(config);
    let gate = startup::gate_of(
        Arc::clone(&config),
        opened.store,
        opened.vault,
        &opened.ring,
        opened.clock,
    );
    let gate = gate.await?;
    let explained = gate.explain(inbound);
    let sign_in = sign_in_page(&gate.explain(visit));
    show(&explained, sign_in.as_deref(), &config, &arguments, output)
}

/// What a browser says that goes to a page.
const OF_A_VISIT: [(HeaderName, HeaderValue); 2] = [
    (
        HeaderName::from_static("sec-fetch-mode"),
        HeaderValue::from_static("navigate"),
    ),
    (
        HeaderName::from_static("sec-fetch-dest"),
        HeaderValue::from_static("document"),
    ),
];

/// Where it is sent, if it is sent to sign in.
fn sign_in_page(visit: &Explained) -> Option<String> {
    let Refused { problem, .. } = visit.outcome.as_ref().err()?;
    let mut headers = problem.headers.iter();
    let (_, place) = headers.find(|(name, _)| *name == header::LOCATION)?;
    Some(text(place))
}

fn show(
    explained: &Explained,
    sign_in: Option<&str>,
    config: &Config,
    arguments: &Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    let is_known = arguments.caller != "anonymous";
    if arguments.json {
        let json = as_json(explained, sign_in, config, is_known);
        writeln!(output, "{json:#}")?;
    } else {
        write_text(explained, config, arguments, is_known, output)?;
        // Where everybody is sent there, it has been said.
        let is_sent =
            matches!(&explained.outcome, Err(refused) if refused.problem.status.is_redirection());
        if let (Some(place), false) = (sign_in, is_sent) {
            writeln!(
                output,
                "browser   303 See Other: a page that somebody opens leads to sign in and back"
            )?;
            writeln!(output, "          location: {place}")?;
        }
    }
    Ok(ExitCode::from(u8::from(explained.outcome.is_err())))
}

/// A token of a session that nobody opened: good for being judged here, and never shown.
async fn authorization(
    config: &Config,
    opened: &Opened,
    arguments: &Arguments,
) -> anyhow::Result<Option<HeaderValue>> {
    if arguments.caller == "anonymous" {
        return Ok(None);
    }
    let now = opened.clock.now();
    let keys = opened.ring.reload(now).await?;
    let access = AccessTokens::new(config.gateway.issuer(), config.tokens.access_ttl);
    let token = match arguments.caller.strip_prefix("client:") {
        Some(client) => {
            let session = machine(config, opened, arguments, client, now).await?;
            access.issue_to_machine(&keys, &session, now)
        }
        None => {
            let (user, session) = user(config, opened, arguments, now).await?;
            access.issue(&keys, &user, &session, now)
        }
    };
    let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
    authorization.set_sensitive(true);
    Ok(Some(authorization))
}

/// A machine, with all scopes that it may hold or with those of `--scope`.
async fn machine(
    config: &Config,
    opened: &Opened,
    arguments: &Arguments,
    id: &str,
    now: SystemTime,
) -> anyhow::Result<MachineSession> {
    let declared = config
        .clients
        .iter()
        .find(|client| client.id.as_str() == id);
    let client = match declared {
        Some(client) => client.clone(),
        None => match opened.store.client(&ClientId::parse(id)?).await? {
            Some(stored) if stored.disabled => bail!("{id} is disabled and can hold no token"),
            Some(stored) => stored.client,
            None => bail!("there is no client {id}"),
        },
    };
    if !client.may(Grant::ClientCredentials) {
        bail!("client {id} gets no tokens of its own: client_credentials is not among its grants");
    }
    let may_hold = client.machine_scopes();
    let scopes = match &arguments.scope {
        Some(scope) => Scopes::parse(scope)?,
        None => may_hold.clone(),
    };
    if !scopes.is_subset_of(&may_hold) {
        bail!("client {id} may hold these scopes: {may_hold}");
    }
    Ok(MachineSession {
        id: SessionId::new(fresh_id(now)),
        client: client.id.clone(),
        scopes,
        audience: audience(config, arguments, &client.resources)?,
        expires_at: now + config.tokens.access_ttl,
        address: arguments.from,
    })
}

/// What the token is for, by `--resource`.
fn audience(
    config: &Config,
    arguments: &Arguments,
    of_client: &[Resource],
) -> anyhow::Result<Option<Resource>> {
    let asked = arguments.resource.as_deref();
    let found = asked.map(|asked| config.resources().find(asked, of_client));
    Ok(found.transpose()?.flatten())
}

async fn user(
    config: &Config,
    opened: &Opened,
    arguments: &Arguments,
    now: SystemTime,
) -> anyhow::Result<(User, Session)> {
    let user = opened
        .store
        .user(&Handle::parse(&arguments.caller)?)
        .await?;
    let user = user.with_context(|| format!("there is no user {}", arguments.caller))?;
    if user.disabled {
        bail!("{} is disabled and can hold no token", arguments.caller);
    }
    let scopes = match &arguments.scope {
        Some(scope) => Scopes::parse(scope)?,
        None => config.accounts.login_scopes.clone(),
    };
    let session = Session {
        id: SessionId::new(fresh_id(now)),
        user: user.id,
        client: ClientId::first_party(),
        scopes,
        audience: audience(config, arguments, &[])?,
        authenticated_at: now,
        amr: Amr::password(),
        expires_at: now,
        address: arguments.from,
    };
    Ok((user, session))
}

fn request(
    arguments: &Arguments,
    authorization: Option<HeaderValue>,
) -> anyhow::Result<Request<()>> {
    let authority = arguments
        .url
        .authority()
        .context("the URL needs a host: https://localhost/...")?;
    let path = arguments
        .url
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(&arguments.method)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .body(())?;
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn write_text(
    explained: &Explained,
    config: &Config,
    arguments: &Arguments,
    is_known: bool,
    output: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let Arguments { method, from, .. } = arguments;
    match &explained.route {
        Some(route) => {
            writeln!(
                output,
                "route     {} (line {})",
                route.name(),
                route.config().position.line
            )?;
            writeln!(output, "auth      {}", words::auth(route.config()))?;
            if !route.config().addresses.is_empty() {
                writeln!(output, "from      {from}")?;
            }
            writeln!(output, "limits    {}", policies(route, is_known))?;
            writeln!(
                output,
                "upstream  {}",
                words::upstream(route.config(), config)
            )?;
        }
        None => writeln!(output, "route     none")?,
    }
    match &explained.outcome {
        Err(Refused { problem, decision }) => {
            writeln!(
                output,
                "decision  {} {}: {}",
                problem.status, problem.code, problem.detail
            )?;
            // Which a caller is not told.
            if problem.code == "invalid_token" {
                writeln!(output, "          because of {}", decision.reason)?;
            }
            for (name, value) in &problem.headers {
                let value = shown(explained, name, value);
                writeln!(output, "          {name}: {value}")?;
            }
        }
        Ok(None) => writeln!(output, "decision  the gateway answers this itself")?,
        Ok(Some((target, headers))) => {
            if is_vouched_for(explained) {
                writeln!(output, "decision  vouch; whoever asks verify is told")?;
            } else {
                writeln!(output, "decision  allow; the app would get")?;
                writeln!(output, "          {method} {target}")?;
            }
            for (name, value) in headers {
                writeln!(
                    output,
                    "          {name}: {}",
                    shown(explained, name, value)
                )?;
            }
        }
    }
    Ok(())
}

fn as_json(explained: &Explained, sign_in: Option<&str>, config: &Config, is_known: bool) -> Value {
    let route = explained.route.as_ref().map(|route| {
        json!({
            "name": &**route.name(),
            "line": route.config().position.line,
            "auth": words::auth(route.config()),
            "limits": policies(route, is_known),
            "upstream": words::upstream(route.config(), config),
        })
    });
    let (decision, request) = match &explained.outcome {
        Err(Refused { problem, decision }) => {
            let refusal = json!({
                "status": problem.status.as_u16(), "code": problem.code, "detail": problem.detail,
                "reason": decision.reason,
            });
            (refusal, None)
        }
        Ok(None) => (json!("own"), None),
        Ok(Some((target, headers))) => {
            let request =
                json!({ "target": target.to_string(), "headers": fields(explained, headers) });
            let decision = if is_vouched_for(explained) {
                "vouch"
            } else {
                "allow"
            };
            (json!(decision), Some(request))
        }
    };
    let browser = sign_in.map(|place| json!({ "status": 303, "location": place }));
    json!({ "route": route, "decision": decision, "browser": browser, "request": request })
}

/// Whether the request is one that another server forwards, once it has asked.
fn is_vouched_for(explained: &Explained) -> bool {
    let route = explained.route.as_ref();
    route.is_some_and(|route| route.leads_somewhere().is_err())
}

fn fields(explained: &Explained, headers: &HeaderMap) -> Value {
    let fields = headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), shown(explained, name, value)]));
    fields.collect()
}

/// An assertion is good for a minute with the app behind: it is named, not shown. Nor is what the file
/// keeps secret, or the token that was made to ask with.
fn shown(explained: &Explained, name: &HeaderName, value: &HeaderValue) -> String {
    let route = explained.route.as_ref();
    let assertion = route.and_then(|route| route.config().identity.assertion.as_ref());
    if assertion == Some(name) {
        "(a signed assertion)".to_owned()
    } else if value.is_sensitive() {
        "(a secret)".to_owned()
    } else {
        text(value)
    }
}

/// What this caller would spend. A route that asks nobody who they are counts nobody by user.
fn policies(route: &Route, is_known: bool) -> String {
    let policies = route.policies();
    let policies = if is_known && route.config().auth != Auth::None {
        &policies.known
    } else {
        &policies.anonymous
    };
    policies.as_ref().map_or_else(|| "none".to_owned(), text)
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
