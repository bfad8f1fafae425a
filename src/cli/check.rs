//! `portcullis check`: every problem of the file at once; then its routes and upstreams, and what is odd.
//!
//! It must never open the database or a port, and never show a secret.

use std::io;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use serde_json::json;

use crate::cli::words;
use crate::cli::words::joined;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Loaded;
use crate::config::Position;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Route;
use crate::config::Secrets;
use crate::config::StoreKey;
use crate::config::Upstream;
use crate::startup::certificate;
use crate::startup::look;
use crate::startup::store_key;
use crate::startup::upstream_tls;

/// The arguments.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Exit with 1 if there are warnings
    #[arg(long)]
    strict: bool,
    /// Need no secrets and no certificates
    #[arg(long)]
    offline: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Checks a file. Exit code 0, 1 for warnings with `--strict`, or 2 for problems.
///
/// # Errors
///
/// The answer cannot be written.
pub(super) fn run(
    file: &Path,
    arguments: &Arguments,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let secrets = if arguments.offline {
        Secrets::Offline
    } else {
        Secrets::Read
    };
    let checked = Config::check(file, secrets).and_then(|loaded| {
        let problems = if arguments.offline {
            Vec::new()
        } else {
            unusable_files(&loaded.config)
        };
        if problems.is_empty() {
            return Ok(loaded);
        }
        let file = file.to_owned();
        Err(Problems { file, problems })
    });
    if arguments.json {
        writeln!(output, "{:#}", as_json(&checked))?;
    } else {
        match &checked {
            Ok(loaded) => write_loaded(file, loaded, output)?,
            Err(problems) => writeln!(errors, "{problems}")?,
        }
    }
    Ok(match checked {
        Err(_) => ExitCode::from(2),
        Ok(loaded) if arguments.strict && !loaded.warnings.is_empty() => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
    })
}

fn write_loaded(file: &Path, loaded: &Loaded, output: &mut dyn Write) -> io::Result<()> {
    let config = &loaded.config;
    let heading = Row {
        host: "HOST".to_owned(),
        path: "PATH".to_owned(),
        methods: "METHODS".to_owned(),
        auth: "AUTH".to_owned(),
        limits: "LIMITS".to_owned(),
        upstream: "UPSTREAM".to_owned(),
    };
    let rows = config.routes.iter().map(|route| Row::new(route, config));
    let rows = [heading].into_iter().chain(rows).map(Row::into_cells);
    write_table(&rows.collect::<Vec<_>>(), output)?;
    let named: Vec<_> = config.upstreams.iter().filter(|it| is_named(it)).collect();
    if !named.is_empty() {
        writeln!(output)?;
        let heading = ["UPSTREAM", "TARGETS", "BALANCE", "HEALTH"].map(ToOwned::to_owned);
        let rows = [heading].into_iter().chain(named.into_iter().map(cells));
        write_table(&rows.collect::<Vec<_>>(), output)?;
    }
    if !loaded.warnings.is_empty() {
        writeln!(output)?;
    }
    for Problem { position, message } in &loaded.warnings {
        let (file, line, column) = (file.display(), position.line, position.column);
        writeln!(output, "{file}:{line}:{column}: warning: {message}")?;
    }
    Ok(())
}

fn write_table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    output: &mut dyn Write,
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..COLUMNS).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        writeln!(output, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Whether an upstream has a table of its own; the others are in the routes' table by their URL.
fn is_named(upstream: &Upstream) -> bool {
    !upstream.name.contains("://")
}

/// An upstream in words. The query of a check is not shown: it may hold what the app asks for.
fn cells(upstream: &Upstream) -> [String; 4] {
    let health = upstream.health.as_ref();
    [
        upstream.name.clone(),
        joined(&upstream.targets, "none"),
        words::balance(upstream).to_owned(),
        health.map_or_else(
            || "not asked".to_owned(),
            |health| health.path.path().to_owned(),
        ),
    ]
}

fn as_json(checked: &Result<Loaded, Problems>) -> Value {
    let problem = |Problem { position, message }: &Problem| {
        let Position { line, column } = position;
        json!({ "line": line, "column": column, "message": message })
    };
    let list = |problems: &[Problem]| problems.iter().map(problem).collect::<Vec<_>>();
    match checked {
        Err(Problems { file, problems }) => json!({ "file": file, "problems": list(problems) }),
        Ok(Loaded { config, warnings }) => {
            let route = |route: &Route| {
                let Row {
                    host,
                    path,
                    methods,
                    auth,
                    limits,
                    upstream,
                } = Row::new(route, config);
                json!({
                    "name": &*route.name, "host": host, "path": path, "methods": methods,
                    "auth": auth, "limits": limits, "upstream": upstream,
                })
            };
            let routes: Vec<_> = config.routes.iter().map(route).collect();
            let upstream = |upstream: &Upstream| {
                let targets: Vec<_> = upstream.targets.iter().map(ToString::to_string).collect();
                json!({
                    "name": upstream.name, "targets": targets,
                    "balance": words::balance(upstream),
                    "health": upstream.health.as_ref().map(|health| health.path.path()),
                })
            };
            let upstreams: Vec<_> = config.upstreams.iter().map(upstream).collect();
            json!({
                "file": config.file,
                "problems": [],
                "routes": routes,
                "upstreams": upstreams,
                "warnings": list(warnings),
            })
        }
    }
}

/// A route in words.
struct Row {
    host: String,
    path: String,
    methods: String,
    auth: String,
    limits: String,
    upstream: String,
}

impl Row {
    fn new(route: &Route, config: &Config) -> Self {
        Self {
            host: joined(&route.hosts, "any"),
            path: joined(&route.paths, "none"),
            methods: joined(route.methods.as_deref().unwrap_or_default(), "any"),
            auth: words::auth(route),
            limits: words::limits(route),
            upstream: words::upstream(route, config).to_owned(),
        }
    }

    fn into_cells(self) -> [String; 6] {
        [
            self.host,
            self.path,
            self.methods,
            self.auth,
            self.limits,
            self.upstream,
        ]
    }
}

/// What is wrong with the certificates, what is needed for TLS to upstreams, and the store's key. One that is not there is no problem of
/// the file: the first start makes it, or says why it may not.
fn unusable_files(config: &Config) -> Vec<Problem> {
    let now = Clock::default().now();
    let mut problems = certificate::unusable(config, now);
    problems.extend(upstream_tls::unusable(config, now));
    problems.extend(look::unusable(config));
    let there = match &config.store.key {
        StoreKey::File(path) => path.exists(),
        StoreKey::Value(_) => true,
    };
    if there && let Err(error) = store_key::load_existing(&config.store) {
        problems.push(Problem {
            position: config.store.key_position,
            message: format!("{error:#}"),
        });
    }
    problems.sort();
    problems
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = r#"
[gateway]
public_url = "https://localhost:8443"
[[listeners]]
address = "127.0.0.1:0"
[routes.notes]
host = "*.example.com"
path = ["/notes", "/n"]
methods = ["GET"]
upstream = "http://${env:NO_SUCH_HOST:-127.0.0.1}:5000"
roles = ["editor"]
limit = "5 per minute"
[routes.api]
path = "/api"
upstream = "echo"
auth = "none"
"#;

    #[track_caller]
    fn check(text: &str, arguments: &Arguments, expected: u8) -> (String, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        fs::write(&file, text).expect("it is written");
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let code = run(&file, arguments, &mut output, &mut errors).expect("it is checked");
        assert_eq!(code, ExitCode::from(expected));
        let read = |bytes| {
            let text = String::from_utf8(bytes).expect("it is text");
            text.replace(&file.display().to_string(), "gateway.toml")
        };
        (read(output), read(errors))
    }

    #[test]
    fn a_good_file_is_a_table_and_its_warnings() {
        let (output, errors) = check(GOOD, &Arguments::default(), 0);
        assert_eq!(errors, "");
        assert_eq!(
            output,
            "\
HOST           PATH        METHODS    AUTH                    LIMITS                UPSTREAM
*.example.com  /notes, /n  GET, HEAD  required, roles editor  5 per minute by user  http://127.0.0.1:5000
any            /api        any        none                    -                     echo

gateway.toml:13:1: warning: route `api` is public: nobody is asked who they are
"
        );
        check(
            GOOD,
            &Arguments {
                strict: true,
                ..Arguments::default()
            },
            1,
        );
        let strict = Arguments {
            strict: true,
            ..Arguments::default()
        };
        check(&GOOD.replace("auth = \"none\"", ""), &strict, 0);
    }

    #[test]
    fn a_bad_file_is_a_list_of_problems() {
        let bad = GOOD
            .replace("\"none\"", "\"nobody\"")
            .replace("5 per", "five per");
        let (output, errors) = check(&bad, &Arguments::default(), 2);
        assert_eq!(output, "");
        let places: Vec<_> = errors
            .lines()
            .map(|line| line.split_once(": ").expect("a place").0)
            .collect();
        assert_eq!(places, ["gateway.toml:12:9", "gateway.toml:16:8"]);
    }

    #[test]
    fn an_upstream_with_a_name_is_shown_with_its_targets() {
        let named = format!(
            "{GOOD}[upstreams.notes]\ntargets = [\"http://a:1\", \"http://b:1\"]\n\
             balance = \"hash_user\"\nhealth.path = \"/up?token=t0ps3cret\"\n[upstreams.one]\ntargets = \"http://c\""
        );
        let (output, _) = check(&named, &Arguments::default(), 0);
        assert!(
            output.contains(
                "
UPSTREAM  TARGETS                 BALANCE    HEALTH
notes     http://a:1, http://b:1  hash_user  /up
one       http://c                p2c        not asked
"
            ),
            "{output}"
        );
        let json = Arguments {
            json: true,
            ..Arguments::default()
        };
        let (output, _) = check(&named, &json, 0);
        let value: Value = serde_json::from_str(&output).expect("it is JSON");
        let targets = &value["upstreams"][0]["targets"];
        assert_eq!(targets, &json!(["http://a:1", "http://b:1"]));
        assert!(!output.contains("t0ps3cret"), "{output}");
    }

    #[test]
    fn offline_needs_no_secrets() {
        let secret = GOOD.replace(":-127.0.0.1", "");
        check(&secret, &Arguments::default(), 2);
        let (output, _) = check(
            &secret,
            &Arguments {
                offline: true,
                ..Arguments::default()
            },
            0,
        );
        assert!(output.contains("${env:NO_SUCH_HOST}"), "{output}");
    }

    #[test]
    fn json_says_the_same() {
        let json = Arguments {
            json: true,
            ..Arguments::default()
        };
        let (output, _) = check(GOOD, &json, 0);
        let value: Value = serde_json::from_str(&output).expect("it is JSON");
        assert_eq!(value["routes"][0]["name"], "notes");
        assert_eq!(value["warnings"][0]["line"], 13);
        let (output, _) = check("x = 1", &json, 2);
        let value: Value = serde_json::from_str(&output).expect("it is JSON");
        assert_eq!(value["problems"][0]["column"], 1);
    }
}
