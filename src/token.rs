//! Tokens: access tokens and assertions (JWT), and refresh tokens (opaque).

pub mod issue;
pub mod opaque;
pub mod verify;
