//! `portcullis serve`: runs the gateway, and says on the terminal what there is to know.

use std::io;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use crate::cli::outlive_full_files;
use crate::cli::words;
use crate::config::Config;
use crate::config::ListenerKind;
use crate::config::Registration;
use crate::startup::Gateway;
use crate::startup::Options;
use crate::telemetry::log;

/// The arguments.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Make a development certificate although a listener is not on loopback
    #[arg(long)]
    dev: bool,
}

/// Runs until SIGTERM or SIGINT; exit code 0 when the last request has finished.
///
/// # Errors
///
/// The gateway cannot start.
pub(super) fn run(
    config: Config,
    arguments: &Arguments,
    terminal: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    log::install(config.log.format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("accounts")
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let options = Options {
            dev: arguments.dev,
            ..Options::default()
        };
        let shutdown = CancellationToken::new();
        on_signal(&shutdown)?;
        let gateway = Gateway::bind(config, options).await?;
        // In one piece, so that nobody reads half of it; a terminal that is gone is no reason not
        // to serve.
        let mut greeting = Vec::new();
        greet(&gateway, &mut greeting)?;
        let _ = terminal.write_all(&greeting);
        gateway.run(shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn on_signal(shutdown: &CancellationToken) -> anyhow::Result<()> {
    outlive_full_files()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    tracing::warn!("this version does not reload on SIGHUP; restart it to read the file anew");
                }
            }
        }
        shutdown.cancel();
    });
    Ok(())
}

/// What was made, where it listens, which routes it serves, what to type next.
fn greet(gateway: &Gateway, terminal: &mut dyn io::Write) -> io::Result<()> {
    let (config, made) = (gateway.config(), gateway.made());
    if let Some(certificate) = &made.certificate {
        writeln!(
            terminal,
            "made   {} for {} (development only)",
            certificate.cert.display(),
            certificate.names.join(", ")
        )?;
        writeln!(
            terminal,
            "made   {} to trust it: curl --cacert {0}",
            certificate.authority.display()
        )?;
    }
    if let Some(key) = &made.store_key {
        writeln!(
            terminal,
            "made   {}: keep it safe, and apart from backups",
            key.display()
        )?;
    }
    if let Some(database) = &made.database {
        writeln!(
            terminal,
            "made   {} with its signing keys: {}/.well-known/jwks.json",
            database.display(),
            config.gateway.issuer()
        )?;
    }
    for (address, kind) in gateway.listeners() {
        let line = match kind {
            ListenerKind::Tls => format!("https://{address}"),
            ListenerKind::Plain => format!("http://{address} (behind a balancer that ends TLS)"),
            ListenerKind::Redirect => format!("http://{address} (only redirects to https)"),
        };
        writeln!(terminal, "listen {line}")?;
    }
    if let Some(admin) = gateway.admin() {
        writeln!(terminal, "admin  http://{admin}/metrics /livez /readyz")?;
    }
    for route in &config.routes {
        let hosts = words::joined(&route.hosts, "");
        let paths = words::joined(&route.paths, "");
        writeln!(
            terminal,
            "route  {hosts}{paths} (auth {})",
            words::auth(route)
        )?;
    }
    if made.database.is_some() {
        writeln!(terminal)?;
        for line in next_steps(
            config,
            made.certificate
                .as_ref()
                .map(|made| made.authority.display().to_string()),
        ) {
            writeln!(terminal, "{line}")?;
        }
    }
    Ok(())
}

fn next_steps(config: &Config, authority: Option<String>) -> Vec<String> {
    let base = format!("{}{}", config.gateway.issuer(), config.gateway.prefix);
    let trust = authority.map_or_else(String::new, |authority| format!("--cacert {authority} "));
    let mut lines = vec![
        "Make the first administrator:".to_owned(),
        "    portcullis user add NAME --role admin".to_owned(),
    ];
    if config.accounts.registration == Registration::Open {
        lines.push("Or register somebody:".to_owned());
        lines.push(format!(
            "    curl {trust}{base}/register --json '{{\"username\": \"alice\", \"password\": \"...\"}}'"
        ));
    }
    lines
}
