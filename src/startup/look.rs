//! The look of pages: the logo is read before anything is served.

use crate::config::Config;
use crate::config::Problem;
use crate::config::Problems;
use crate::page::Look;

/// The look that the file asks for.
///
/// # Errors
///
/// Where the logo cannot be shown.
pub(super) fn load(config: &Config) -> Result<Look, Problems> {
    look(config).map_err(|problem| Problems {
        file: config.file.clone(),
        problems: vec![problem],
    })
}

/// What is wrong with the logo.
pub fn unusable(config: &Config) -> Option<Problem> {
    look(config).err()
}

fn look(config: &Config) -> Result<Look, Problem> {
    Look::new(&config.gateway.assets(), &config.brand).map_err(|error| Problem {
        position: config
            .brand
            .logo
            .as_ref()
            .map(|logo| logo.position)
            .unwrap_or_default(),
        message: format!("`logo`: {error}"),
    })
}
