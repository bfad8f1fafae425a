//! The operational log: what the gateway itself has to say, on standard error.

use crate::config::LogFormat;

/// Installs the subscriber; level from `PORTCULLIS_LOG` (`error` to `trace`), `info` when unset.
/// Libraries log from `warn` on.
pub fn install(format: LogFormat) { todo!() }
