//! `portcullis explain`.
use std::io;
use std::process::ExitCode;
use crate::config::Config;
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(config: &Config, arguments: &Arguments, output: &mut dyn io::Write) -> anyhow::Result<ExitCode> { todo!() }
