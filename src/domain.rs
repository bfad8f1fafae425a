//! The nouns: users, sessions, scopes, clients, secrets.
//!
//! Values here are already right: `parse` is the only way in, so a [`Username`] that exists may be
//! put into a header and a [`Scope`] that exists may be put into a token. This room must never do
//! I/O, never be async and never know HTTP.

pub mod amr;
pub mod client;
pub mod fingerprint;
pub mod grant;
pub mod identity;
pub mod redirect;
pub mod resource;
pub mod scope;
pub mod secret;
pub mod session;
pub mod subject;
pub mod user;
pub mod user_code;

pub use amr::Amr;
pub use client::Client;
pub use client::ClientId;
pub use client::Conflict;
pub use client::Consent;
pub use fingerprint::Fingerprint;
pub use grant::Grant;
pub use identity::ProviderIdentity;
pub use redirect::RedirectUri;
pub use resource::Audience;
pub use resource::PROTECTED_RESOURCE;
pub use resource::Place;
pub use resource::Resource;
pub use scope::Scope;
pub use scope::Scopes;
pub use secret::Password;
pub use secret::PasswordHash;
pub use secret::TokenHash;
pub use session::MachineSession;
pub use session::Session;
pub use session::SessionId;
pub use subject::Outside;
pub use subject::Subject;
pub use user::DisplayName;
pub use user::EmailAddress;
pub use user::Handle;
pub use user::Role;
pub use user::User;
pub use user::UserId;
pub use user::Username;
pub use user_code::UserCode;

/// Why a string is not the noun it was meant to be, in words for the person who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);
