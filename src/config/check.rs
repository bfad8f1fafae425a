//! From the file's tables to the checked [`Config`]: one function per table.
//!
//! A function reads its table as far as it can and leaves the problems to the [`Report`]; only a
//! file without any makes a [`Config`]. What concerns several tables at once is `conflicts`.

mod clients;
mod conflicts;
mod headers;
mod identity;
mod issuers;
mod listeners;
mod routes;
mod same_app;
mod upstreams;
mod verify;

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;

use secrecy::SecretString;
use toml::de::DeTable;
use url::Url;

use crate::config::Accounts;
use crate::config::Algorithm;
use crate::config::Brand;
use crate::config::Colour;
use crate::config::Config;
use crate::config::Connections;
use crate::config::Gateway;
use crate::config::Hashing;
use crate::config::Limits;
use crate::config::Log;
use crate::config::LogFormat;
use crate::config::Logo;
use crate::config::Position;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Registration;
use crate::config::Secrets;
use crate::config::Sessions;
use crate::config::Store;
use crate::config::StoreKey;
use crate::config::Tokens;
use crate::config::brand as brands;
use crate::config::check::upstreams::Upstreams;
use crate::config::patterns;
use crate::config::reader::Report;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::config::secrets;
use crate::config::secrets::Lookup;
use crate::config::values;
use crate::domain::Malformed;
use crate::domain::Scope;
use crate::domain::Username;

pub use conflicts::OWN_ENDPOINTS;
pub use conflicts::ROOT_ASSETS;
pub use conflicts::WELL_KNOWN;

/// A good file.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

pub(super) fn load(file: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    let unreadable = |position, message| Problems {
        file: file.to_owned(),
        problems: vec![Problem { position, message }],
    };
    let start = Position { line: 1, column: 1 };
    let bytes =
        read(file).map_err(|error| unreadable(start, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let (good, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(
            Position { line, column: 1 },
            "this line is not UTF-8".to_owned(),
        )
    })?;
    self::text(file, &text, secrets, &|name| std::env::var(name).ok())
}

/// As much as any file has, so that one without an end is an error and no end of the memory.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    const BYTES_MAX: u64 = 64 << 20;
    let mut bytes = Vec::new();
    let read = File::open(file)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > BYTES_MAX {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(bytes)
}

pub(super) fn text(
    file: &Path,
    text: &str,
    secrets: Secrets,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let report = Report::new(
        text,
        Lookup {
            folder,
            secrets,
            variable,
        },
    );
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(text.len(), |span| span.start);
        report.problem(place, error.message());
    }
    let config = report.read(root.get_ref(), |root| config(root, file));
    let (problems, warnings) = report.finish();
    if problems.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        Err(Problems {
            file: file.to_owned(),
            problems,
        })
    }
}

fn config(root: &Table<'_>, file: &Path) -> Config {
    root.later(&["mail", "lockout", "providers", "acme"]);
    let listeners = listeners::listeners(root);
    let certificates = listeners::certificates(root, &listeners);
    let (identity, headers) = root.table("identity", identity::identity);
    let mut upstreams = Upstreams::read(root);
    let routes = routes::routes(root, &mut upstreams, &headers.into());
    let scopes = scopes(root);
    let issuers = issuers::issuers(root, &routes);
    let config = Config {
        file: file.to_owned(),
        gateway: root.table("gateway", gateway),
        listeners,
        certificates,
        connections: root.table("connections", connections),
        store: root.table("store", store),
        tokens: root.table("tokens", tokens),
        sessions: root.table("sessions", sessions),
        accounts: root.table("accounts", accounts),
        hashing: root.table("hashing", hashing),
        limits: root.table("limits", limits),
        identity,
        upstreams: upstreams.into_list(),
        routes,
        clients: clients::clients(root, &scopes),
        scopes,
        issuers,
        verify: verify::verify(root),
        brand: root.table("brand", brand),
        admin: root.table("admin", listeners::admin),
        log: root.table("log", log),
    };
    conflicts::find(&config, root.report());
    config
}

fn gateway(table: &Table<'_>) -> Gateway {
    Gateway {
        public_url: table
            .required("public_url", "\"https://localhost:8443\"")
            .and_then(|value| value.parse(values::public_url))
            .unwrap_or_else(unknown_url),
        prefix: table
            .get("prefix")
            .and_then(|value| value.parse(prefix))
            .unwrap_or_else(|| "/auth".to_owned()),
        trusted_proxies: table.list("trusted_proxies", values::network),
        cors_origins: table.list("cors_origins", values::origin),
        hsts: table
            .get("hsts")
            .and_then(|value| value.duration_or_off(Duration::ZERO..=YEAR * 2))
            .unwrap_or(Some(YEAR)),
        threads: table.integer("threads", 1..=1024, cores()),
    }
}

/// Stands in for a URL that is wrong, and so never served, or not looked up.
#[expect(clippy::expect_used, reason = "a constant")]
fn unknown_url() -> Url {
    Url::parse("https://unknown.invalid").expect("it is an https URL")
}

fn prefix(text: &str) -> Result<String, Malformed> {
    const WRONG: Malformed =
        Malformed("it must be \"\" or like \"/auth\", of letters, digits, '-', '_' and '.'");
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    match text {
        "" => Ok(String::new()),
        "/" => Err(Malformed("write \"\" for the root")),
        _ if text == "/.well-known" || text.starts_with("/.well-known/") => Err(Malformed(
            "/.well-known has documents of its own; choose another",
        )),
        _ if !text.bytes().all(legal) => Err(WRONG),
        _ => patterns::path(text).map(|path| path.to_string()),
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn connections(table: &Table<'_>) -> Connections {
    let seconds = Duration::from_secs;
    let minutes = Duration::from_mins;
    let header_bytes = table.size("header_bytes", 8 << 10..=64 << 10, 32 << 10);
    let max = table.integer("max", 1..=1_000_000, 10_000);
    Connections {
        max,
        per_address: table.integer("per_address", 1..=1_000_000, (max / 2).max(1)),
        handshake_timeout: table.duration(
            "handshake_timeout",
            seconds(1)..=minutes(2),
            seconds(10),
        ),
        header_timeout: table.duration("header_timeout", seconds(1)..=minutes(10), seconds(15)),
        body_timeout: table.duration("body_timeout", seconds(1)..=minutes(60), seconds(30)),
        header_bytes: usize::try_from(header_bytes).unwrap_or(usize::MAX),
        headers: table.integer("headers", 16..=1000, 100),
        streams: table.integer("streams", 1..=200, 128),
        control_frames: table.integer("control_frames", 100..=1_000_000, 10_000),
        drain_timeout: table.duration("drain_timeout", seconds(0)..=minutes(60), seconds(30)),
    }
}

fn store(table: &Table<'_>) -> Store {
    table.later(&["password"]);
    let report = table.report();
    let url = table.get("url");
    let sqlite = url
        .and_then(|value| value.parse(|url| Ok::<_, Malformed>(report.path(database(url)?))))
        .unwrap_or_else(|| report.path("data/portcullis.db"));
    let key = table.get("key");
    let place = |value: Option<Value<'_>>| value.map_or_else(|| table.position(), Value::position);
    Store {
        position: place(url),
        key_position: place(key),
        key: key
            .and_then(store_key)
            .unwrap_or_else(|| StoreKey::File(sqlite.with_file_name("store.key"))),
        sqlite,
    }
}

fn database(url: &str) -> Result<&str, Malformed> {
    const WRONG: Malformed =
        Malformed("it must be sqlite: and a path, such as \"sqlite:data/portcullis.db\"");
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(Malformed(
            "this version does not have PostgreSQL; write \"sqlite:data/portcullis.db\"",
        ));
    }
    let path = url.strip_prefix("sqlite:").ok_or(WRONG)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '#', ':']) {
        return Err(WRONG);
    }
    Ok(path)
}

/// A file is left for the first start to make; anything else must be there and must be good.
fn store_key(value: Value<'_>) -> Option<StoreKey> {
    if let Some(path) = value.written().and_then(secrets::file_reference) {
        return Some(StoreKey::File(value.report().path(path)));
    }
    let text = value.text()?;
    if text.known && is_weak(&text.value) {
        value.problem(
            "this key is short, simple or from an example; \
             leave it out and one is made, or write 32 random bytes in base64",
        );
    }
    Some(StoreKey::Value(SecretString::from(text.value)))
}

/// Whether a key can be guessed or is printed in somebody's tutorial (SECURITY 59).
fn is_weak(key: &str) -> bool {
    const EXAMPLES: [&str; 7] = [
        "secretkey",
        "yoursecret",
        "changeme",
        "changethis",
        "replaceme",
        "password",
        "example",
    ];
    let mut letters = key.as_bytes().to_vec();
    letters.sort_unstable();
    letters.dedup();
    let folded: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let folded = folded.to_ascii_lowercase();
    key.len() < 32 || letters.len() < 10 || EXAMPLES.iter().any(|example| folded.contains(example))
}

fn tokens(table: &Table<'_>) -> Tokens {
    let seconds = Duration::from_secs;
    let days = |days: u64| Duration::from_hours(24 * days);
    let tokens = Tokens {
        algorithm: table.choice(
            "algorithm",
            &[
                ("ES256", Some(Algorithm::Es256)),
                ("EdDSA", Some(Algorithm::EdDsa)),
            ],
            Algorithm::Es256,
        ),
        access_ttl: table.duration("access_ttl", seconds(10)..=days(1), Duration::from_mins(15)),
        refresh_ttl: table.duration("refresh_ttl", seconds(11)..=days(366), days(30)),
        refresh_grace: table.duration("refresh_grace", seconds(0)..=seconds(60), seconds(10)),
        cache_max: table.integer("cache_max", 1000..=100_000_000, 131_072),
    };
    if tokens.refresh_ttl <= tokens.access_ttl
        && let Some(value) = table.get("refresh_ttl")
    {
        value.problem("it must be longer than `access_ttl`");
    }
    tokens
}

fn sessions(table: &Table<'_>) -> Sessions {
    let minutes = Duration::from_mins;
    let year = Duration::from_hours(24 * 366);
    let sessions = Sessions {
        idle: table.duration("idle", minutes(1)..=year, Duration::from_hours(12)),
        max: table.duration("max", minutes(1)..=year, Duration::from_hours(24 * 30)),
    };
    if sessions.idle > sessions.max
        && let Some(value) = table.get("max").or_else(|| table.get("idle"))
    {
        value.problem("`max` must not be shorter than `idle`");
    }
    sessions
}

fn accounts(table: &Table<'_>) -> Accounts {
    table.later(&["allow_domains"]);
    table.choice("verify_email", &[("off", Some(())), ("required", None)], ());
    let (password_length_min, password_reject_common) = table.table("password", |table| {
        (
            table.integer("min_length", 8..=128, 12),
            table.boolean("reject_common", true),
        )
    });
    Accounts {
        registration: table.choice(
            "registration",
            &[
                ("open", Some(Registration::Open)),
                ("off", Some(Registration::Off)),
                ("invite", None),
                ("approval", None),
            ],
            Registration::Off,
        ),
        password_length_min,
        password_reject_common,
        reserved_usernames: table.list("reserved_usernames", |text| {
            Username::parse(text).map(|username| username.folded())
        }),
        login_scopes: table
            .list("login_scopes", Scope::parse)
            .into_iter()
            .collect(),
    }
}

fn hashing(table: &Table<'_>) -> Hashing {
    let seconds = Duration::from_secs;
    let memory = table.size("memory", 19 << 20..=4 << 30, 19 << 20);
    Hashing {
        memory_kib: u32::try_from(memory >> 10).unwrap_or(u32::MAX),
        iterations: table.integer("iterations", 2..=100, 2),
        threads: table.integer("threads", 1..=1024, (cores() / 2).max(1)),
        queue: table.integer("queue", 1..=100_000, 64),
        deadline: table.duration(
            "deadline",
            Duration::from_millis(100)..=seconds(60),
            seconds(3),
        ),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    table.later(&["redis", "on_redis_error"]);
    Limits {
        per_address: table.rate("per_address", "6000 per minute"),
        per_user: table.rate("per_user", "6000 per minute"),
        register: table.rate("register", "60 per hour"),
        login: table.rate("login", "60 per minute"),
        exempt: table.list("exempt", values::network),
        ipv6_prefix: table.integer("ipv6_prefix", 32..=128, 64),
        keys_max: table.integer("keys_max", 1000..=100_000_000, 1_000_000),
    }
}

fn scopes(root: &Table<'_>) -> Vec<(Scope, String)> {
    let scope = |value: Value<'_>| {
        let scope = Scope::parse(value.name()).inspect_err(|error| value.problem(error));
        Some((scope.ok()?, value.text()?.value))
    };
    root.entries("scopes")
        .into_iter()
        .filter_map(scope)
        .collect()
}

fn brand(table: &Table<'_>) -> Brand {
    let logo = |value: Value<'_>| {
        let report = value.report();
        let read = |path: &str| Ok::<_, Malformed>((brands::logo_kind(path)?, report.path(path)));
        let (kind, path) = value.parse(read)?;
        let position = value.position();
        Some(Logo {
            path,
            kind,
            position,
        })
    };
    Brand {
        name: table
            .get("name")
            .and_then(|value| value.parse(brands::name))
            .unwrap_or_else(|| "Portcullis".to_owned()),
        logo: table.get("logo").and_then(logo),
        colour: table
            .get("colour")
            .and_then(|value| value.parse(Colour::parse))
            .unwrap_or(Colour::DEFAULT),
    }
}

fn log(table: &Table<'_>) -> Log {
    Log {
        format: table.choice(
            "format",
            &[
                ("auto", Some(LogFormat::Auto)),
                ("human", Some(LogFormat::Human)),
                ("json", Some(LogFormat::Json)),
            ],
            LogFormat::Auto,
        ),
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests;
