//! What the store keeps of clients that act for people: codes, consents, sessions.

use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;

use crate::domain::ClientId;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::User;
use crate::domain::UserId;

/// By what a client has proven who it is, so that a request under way can be refused once that is no
/// proof any more.
#[derive(Clone, Copy, Debug)]
pub enum ClientProof {
    /// It is one of the file.
    Declared,
    /// It is one of the store, with this secret, or public.
    Stored(Option<TokenHash>),
}

/// A code to issue (RFC 6749 §4.1.2).
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Its hash.
    pub hash: TokenHash,
    /// For which client.
    pub client: ClientId,
    /// Who has signed in.
    pub user: UserId,
    /// In which session of a browser.
    pub parent: SessionId,
    /// What its tokens may hold.
    pub scopes: Scopes,
    /// Where it is sent.
    pub redirect_uri: String,
    /// Whether the client named that: then it names it again (RFC 6749 §4.1.3).
    pub redirect_uri_sent: bool,
    /// SHA-256 of the verifier (RFC 7636 §4.2).
    pub challenge: TokenHash,
    /// What the ID token repeats (OpenID Connect Core §3.1.2.1).
    pub nonce: Option<String>,
    /// What its tokens are for; none is the gateway.
    pub audience: Option<Resource>,
    /// Whether to remember that the person has consented to the scopes.
    pub consented: bool,
    /// When it is worth nothing any more.
    pub expires_at: SystemTime,
    /// Now.
    pub now: SystemTime,
}

/// A session that a client is to have for a person.
#[derive(Clone, Debug)]
pub struct NewDelegatedSession {
    /// Its id.
    pub id: SessionId,
    /// From where it was asked for.
    pub address: IpAddr,
    /// The hash of its first refresh token, where it gets one.
    pub refresh: Option<TokenHash>,
    /// How long it lives.
    pub ttl: Duration,
    /// Now.
    pub now: SystemTime,
}

/// A code presented (RFC 6749 §4.1.3).
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Its hash.
    pub code: TokenHash,
    /// By which client.
    pub client: ClientId,
    /// By what that has proven itself.
    pub proof: ClientProof,
    /// What it says where the code was sent.
    pub redirect_uri: Option<String>,
    /// SHA-256 of the verifier that it shows.
    pub challenge: TokenHash,
    /// What it says that the tokens are for, if it says anything: what the code is for, or less.
    pub target: Option<Option<Resource>>,
    /// What is opened.
    pub session: NewDelegatedSession,
}

/// What became of a [`Redemption`].
#[derive(Debug)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per code, and nearly always the large one"
)]
pub enum Redeemed {
    /// The session is open.
    Opened {
        /// Whose it is.
        user: User,
        /// The session.
        session: Session,
        /// What the ID token repeats.
        nonce: Option<String>,
    },
    /// The code is not good, or not for this. If there was one, it is spent.
    Refused,
    /// A spent code came back: what it had opened is ended with this very transaction.
    Replayed(Vec<SessionId>),
}

/// A client that may act for a person.
#[derive(Clone, Debug)]
pub struct ConnectedClient {
    /// Which.
    pub client: ClientId,
    /// What it may do.
    pub scopes: Scopes,
    /// Since when.
    pub since: SystemTime,
}
