//! What operators see: the access log, the operational log, metrics, and the admin listener.
//!
//! This room must never slow or fail a request: what it cannot write it drops and counts.

pub mod access;
pub mod admin;
pub mod log;
pub mod metrics;

use std::io::IsTerminal;

use crate::config::LogFormat;

/// Whether lines on this stream are for people: as configured, else if it is a terminal.
fn is_for_people(format: LogFormat, stream: &impl IsTerminal) -> bool {
    match format {
        LogFormat::Auto => stream.is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    }
}
