//! From the file's tables to the checked [`Config`].

use std::path::Path;

use crate::config::Config;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Secrets;

/// A good file.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is worth a second look.
    pub warnings: Vec<Problem>,
}

pub(super) fn load(file: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
    todo!()
}
