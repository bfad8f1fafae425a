//! Tokens: access tokens and assertions (JWT), refresh tokens (opaque), cookies of browser sessions, and
//! what carries a sign-in from one host to another.
//!
//! What one kind of token opens, no other kind does (SECURITY 22): they differ in type, in key and
//! in form. This room must never ask the store.

pub mod binding;
pub mod cookie;
pub mod issue;
pub mod opaque;
pub mod ticket;
pub mod verify;
