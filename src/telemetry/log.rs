//! The operational log: what the gateway itself has to say, on standard error.

use std::env;
use std::io;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::telemetry::is_for_people;

/// Installs the subscriber; level from `PORTCULLIS_LOG` (`error` to `trace`), `info` when unset.
/// Libraries log from `warn` on. Where a subscriber is installed already, it stays.
pub fn install(format: LogFormat) {
    let setting = env::var("PORTCULLIS_LOG").ok();
    let level = setting.as_deref().map_or(Some(LevelFilter::INFO), level);

    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = if is_for_people(format, &io::stderr()) {
        let is_terminal = is_for_people(LogFormat::Auto, &io::stderr());
        lines.with_ansi(is_terminal).with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let filter = filter(level.unwrap_or(LevelFilter::INFO));
    let _ = registry().with(lines.with_filter(filter)).try_init();

    if level.is_none() {
        tracing::warn!(
            setting,
            "PORTCULLIS_LOG is none of off, error, warn, info, debug and trace; logging at info"
        );
    }
}

fn level(setting: &str) -> Option<LevelFilter> {
    match setting {
        "" | "info" => Some(LevelFilter::INFO),
        "off" => Some(LevelFilter::OFF),
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

/// `level` is ours; libraries never say more than warnings, and never more than we do.
fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_PKG_NAME"), level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_log_from_warn_on() {
        let filter = filter(level("debug").unwrap());
        assert!(filter.would_enable("portcullis::gate", &Level::DEBUG));
        assert!(!filter.would_enable("portcullis::gate", &Level::TRACE));
        assert!(filter.would_enable("hyper::client", &Level::WARN));
        assert!(!filter.would_enable("hyper::client", &Level::INFO));
    }

    #[test]
    fn a_quiet_gateway_has_quiet_libraries() {
        let filter = filter(level("error").unwrap());
        assert!(filter.would_enable("portcullis", &Level::ERROR));
        assert!(!filter.would_enable("portcullis", &Level::WARN));
        assert!(!filter.would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn levels_are_words() {
        assert_eq!(level(""), Some(LevelFilter::INFO));
        assert_eq!(level("trace"), Some(LevelFilter::TRACE));
        for wrong in ["INFO", "verbose", "portcullis=debug", "3"] {
            assert_eq!(level(wrong), None, "{wrong}");
        }
    }
}
