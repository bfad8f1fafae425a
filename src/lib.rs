//! Portcullis: a reverse-proxy authentication gateway.
//!
//! It terminates TLS, keeps the accounts, issues and checks the tokens, counts the requests, and
//! hands each app behind it one trustworthy fact: who is calling. This is the map of its rooms, in
//! the order in which they are best read; each says at its top what it must never do.
//! `ARCHITECTURE.md` draws how they stand together.
//!
//! The library is there for the binary and for tests; nothing of it is published.

// Bytes become requests.
pub mod edge;

// A request's path.
pub mod body;
pub mod gate;
pub mod upstream;

// Our own endpoints.
pub mod account;
pub mod endpoints;
pub mod intake;
pub mod oauth;
pub mod page;
pub mod portal;

// What they stand on.
pub mod authenticate;
pub mod certificates;
pub mod issuers;
pub mod keys;
pub mod limiter;
pub mod outbound;
pub mod password;
pub mod revocations;
pub mod store;
pub mod token;
pub mod vault;

// Leaves.
pub mod clock;
pub mod config;
pub mod disk;
pub mod domain;
pub mod problem;
pub mod recent;
pub mod telemetry;

// Wiring.
pub mod cli;
pub mod startup;

// For tests and fuzzers.
#[cfg(any(test, fuzzing))]
pub mod properties;
