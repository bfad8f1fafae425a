//! What an operator, a client or an upstream can see, tried on the real gateway.
//!
//! One binary, so that it is linked once and shares the harness. A test that admits has a twin that
//! refuses and asserts that nothing reached the upstream; a test that proves a number of the
//! security requirements names it above.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod harness;

mod accounts;
mod assertions;
mod authentication;
mod authorization;
mod authorize;
mod bodies;
mod browser_sessions;
mod catch_all;
mod cli;
mod client_certificates;
mod clients;
mod configuration;
mod cors;
mod curl;
mod descriptors;
mod device;
mod durability;
mod events;
mod faults;
mod first_minute;
mod flask;
mod forward_auth;
mod forwarding;
mod framing;
mod grpc;
mod http2;
mod issuers;
mod keys;
mod layers;
mod limits;
mod listeners;
mod logout;
mod logs;
mod memory;
mod names;
mod oauth;
mod oidc_app;
mod openid;
mod operate;
mod outages;
mod overload;
mod pages;
mod personal_tokens;
mod portal;
mod pressure;
mod protocols;
mod providers;
mod proxy_protocol;
mod real_clients;
mod resources;
mod route_keys;
mod routing;
mod security_matrix;
mod sessions;
mod sign_in_redirects;
mod slow;
mod spoofed_headers;
mod streams;
mod tls;
mod tokens;
mod transport;
mod upstreams;
mod upstreams_lie;
mod upstreams_nginx;
mod upstreams_nginx_tls;
mod websockets;
mod websockets_http2;
mod websockets_python;
