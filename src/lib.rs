//! The map.
#![allow(dead_code, unused, missing_docs, reason = "skeleton")]

pub mod account;
pub mod authenticate;
pub mod body;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod edge;
pub mod endpoints;
pub mod gate;
pub mod keys;
pub mod limiter;
pub mod password;
pub mod problem;
pub mod revocations;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod upstream;
pub mod vault;
