//! `portcullis explain`.
use crate::config::Config;
use std::io;
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(
    config: &Config,
    arguments: &Arguments,
    output: &mut dyn io::Write,
) -> anyhow::Result<ExitCode> {
    todo!()
}
