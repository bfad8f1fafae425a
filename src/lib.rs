//! The map.
#![allow(missing_docs, unused, dead_code, clippy::all, reason = "skeleton")]

pub mod clock;
pub mod config;
pub mod domain;
pub mod keys;
pub mod limiter;
pub mod password;
pub mod revocations;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod vault;
pub mod authenticate;
pub mod body;
pub mod edge;
pub mod gate;
pub mod problem;
pub mod upstream;
