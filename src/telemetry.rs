//! What operators see: the access log, the operational log, metrics, and the admin listener.

pub mod access;
pub mod admin;
pub mod log;
pub mod metrics;
