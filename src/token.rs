//! Tokens: access tokens, ID tokens and assertions (JWT), refresh tokens, codes and personal tokens
//! (opaque), cookies of browser sessions, and what carries a sign-in from one host to another.
//!
//! What one kind of token opens, no other kind does (SECURITY 22): they differ in type, in key and
//! in form. This room must never ask the store.

pub mod binding;
pub mod cookie;
pub mod id_mac;
pub mod id_token;
pub mod issue;
pub mod one_use;
pub mod opaque;
pub mod personal;
pub mod verify;
