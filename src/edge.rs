//! Bytes become requests: listeners, TLS, HTTP, and the cores that serve them.
//!
//! One acceptor hands every connection to the least loaded core and never looks inside; a core
//! runs one `current_thread` runtime and keeps a connection from its first to its last byte. This
//! room must never decide anything about a request.

pub mod accept;
pub mod core;
mod frames;
pub mod http;
mod patience;
pub mod proxy_protocol;
pub mod tls;
mod tunnels;
