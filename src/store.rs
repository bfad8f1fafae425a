//! The database: accounts, sessions, signing keys, and the append-only table of changes.
//!
//! Every method is one whole transaction in domain types: a caller that vanishes half-way leaves
//! all of it or none, and an answered write has been synced to the disk (SECURITY 49). Nothing
//! outside this room knows which database it is. It must never see a password or a token, only
//! their hashes, and never a signing key that is not sealed.

#[cfg(test)]
mod contract;
mod delegation;
mod devices;
mod identity;
mod personal;
mod sqlite;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use sqlx::SqlitePool;

use crate::config::Algorithm;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::PasswordHash;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;

pub use delegation::ClientProof;
pub use delegation::ConnectedClient;
pub use delegation::NewCode;
pub use delegation::NewDelegatedSession;
pub use delegation::Redeemed;
pub use delegation::Redemption;
pub use devices::DecidedDevice;
pub use devices::DeviceDecision;
pub use devices::DevicePoll;
pub use devices::NewDeviceCode;
pub use devices::Polled;
pub use devices::WaitingDevice;
pub use identity::LinkProof;
pub use identity::Linked;
pub use identity::LinkedIdentity;
pub use identity::NewIdentity;
pub use identity::Opened;
pub use identity::Unlinked;
pub use personal::ListedPersonalToken;
pub use personal::NewPersonalToken;
pub use personal::PersonalTokenMade;

/// How long rows of the table of changes are kept: longer than any access token can live
/// (24 h and leeway), so that a gateway that starts learns of every session it must refuse.
pub const CHANGES_KEPT: Duration = Duration::from_secs(25 * 60 * 60);

/// The accounts' database. Cheap to clone.
///
/// One connection writes, so that writers queue here instead of failing on SQLite's lock; a few
/// others only read, and are never held up by the one that writes.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
    files: sqlite::Files,
}

/// Why a database could not be opened; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `Existing` was asked for.
    #[error("there is no database at {0}; `portcullis serve` makes one at its first start")]
    Absent(PathBuf),
    /// Owned by somebody else: opening it could leave files that the gateway cannot write.
    #[error(
        "{path} belongs to user id {owner}, and this is user id {caller}; run the command as its owner"
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asked.
        caller: u32,
    },
    /// Others may read the hashes in it, or change who is who.
    #[error("{path} has mode {mode:04o}, so others can use it; make it 0600: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file or its folder cannot be made or opened.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder, a device, anything but a file.
    #[error("{0} is no file; name one, such as \"sqlite:data/portcullis.db\"")]
    NoFile(PathBuf),
    /// Not a database, a newer schema, or broken.
    #[error("cannot use the database {path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The store did not do it: locked, full, gone. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct Unavailable(#[from] sqlx::Error);

/// How to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Make it when it is not there: `serve`, `user add`.
    Create,
    /// It must be there: every other command.
    Existing,
}

/// An account to make.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// At least one of username and address.
    pub username: Option<Username>,
    /// At least one of username and address.
    pub email: Option<EmailAddress>,
    /// What the person is called.
    pub name: Option<DisplayName>,
    /// Sorted, without repeats.
    pub roles: Vec<Role>,
    /// The hash.
    pub password: PasswordHash,
}

/// Why an account could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The folded username is or was somebody's: names are never given to a second person.
    #[error("the username is taken")]
    UsernameTaken,
    /// The folded address is somebody's.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// There is no such account.
    #[error("there is no such user")]
    NotFound,
    /// An account keeps at least one of username and address.
    #[error("an account needs a username or an e-mail address")]
    Nameless,
    /// Nothing happened.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<sqlx::Error> for UserError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Unavailable(error))
    }
}

/// An OAuth client that a command made.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// The client.
    pub client: Client,
    /// A disabled one gets no tokens, and those that it had are ended.
    pub disabled: bool,
    /// When it was made.
    pub created_at: SystemTime,
}

/// An account with what proves its owner.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account.
    pub user: User,
    /// What its password is compared with.
    pub password: PasswordHash,
    /// Which password of the account that is, so that whatever was decided by it can be refused
    /// once there is another. A stronger hash of the same password is no other.
    pub password_version: u64,
}

/// What to change of an account; `None` leaves a thing as it is, `Some(None)` removes it.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The username.
    pub username: Option<Option<Username>>,
    /// The address; a new one is unverified unless `email_verified` says otherwise.
    pub email: Option<Option<EmailAddress>>,
    /// Whether the address is verified.
    pub email_verified: Option<bool>,
    /// What the person is called.
    pub name: Option<Option<DisplayName>>,
    /// Roles to add.
    pub add_roles: Vec<Role>,
    /// Roles to take away.
    pub remove_roles: Vec<Role>,
    /// Disabling ends every session.
    pub disabled: Option<bool>,
}

/// A session to open.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session itself.
    pub session: Session,
    /// The `User-Agent`, cut to 256 characters.
    pub user_agent: Option<String>,
    /// Hash of its first refresh token.
    pub refresh: TokenHash,
    /// Which password was verified: see [`Credentials`].
    pub password_version: u64,
}

/// A session of a browser to open.
#[derive(Clone, Debug)]
pub struct NewBrowserSession {
    /// The session itself.
    pub session: Session,
    /// Now: perhaps long after the person has shown who they are.
    pub opened_at: SystemTime,
    /// The `User-Agent`, cut to 256 characters.
    pub user_agent: Option<String>,
    /// Which password was verified: see [`Credentials`].
    pub password_version: u64,
    /// The session that the browser had until now; it is ended.
    pub replaced: Option<SessionId>,
}

/// A living session of a browser or of a personal token and whose it is, as both are now.
#[derive(Clone, Debug)]
pub struct OpaqueSession {
    /// The session.
    pub session: Session,
    /// The account, which is not disabled.
    pub user: User,
    /// When it was last seen, as far as that was taken down.
    pub last_seen_at: SystemTime,
    /// Whether it ends when it is not seen for long.
    pub idles: bool,
}

/// What carries a session to another host: kept by the hash of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTicket {
    /// The session, which may end before the ticket is used.
    pub session: SessionId,
    /// The one host that it is good for: lower case, without a port.
    pub host: String,
    /// The one browser: the hash of its cookie on that host.
    pub binding: TokenHash,
    /// Where the browser goes on to, on that host.
    pub return_to: String,
    /// When it lapses.
    pub expires_at: SystemTime,
}

/// What an owner sees of a session.
#[derive(Clone, Debug)]
pub struct ListedSession {
    /// Its id.
    pub id: SessionId,
    /// Whether it is a browser's.
    pub is_browser: bool,
    /// Whose tokens it has: the gateway's own login, or a client that acts for the user.
    pub client: ClientId,
    /// With what it was opened.
    pub user_agent: Option<String>,
    /// From where it was opened.
    pub address: IpAddr,
    /// When the user proved who they are.
    pub authenticated_at: SystemTime,
    /// When it was last seen.
    pub last_seen_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: SystemTime,
}

/// A refresh token presented, with the successor derived from it.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Of which session.
    pub session: SessionId,
    /// By which client: no other one's token is good.
    pub client: ClientId,
    /// What the access token is to hold, where that is less than the session may.
    pub asked: Option<Scopes>,
    /// What is said that it is for, if anything is: what the session is for, or less.
    pub target: Option<Option<Resource>>,
    /// How long the browser's session that it ends with may go unseen.
    pub parent_idle: Duration,
    /// The hash of what was presented; its MAC has been checked, so it was once ours.
    pub presented: TokenHash,
    /// The hash of what will take its place.
    pub successor: TokenHash,
    /// Now.
    pub now: SystemTime,
    /// How long a spent token may still ask for its unused successor.
    pub grace: Duration,
}

/// What became of a [`Rotation`].
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per refresh, and nearly always the large one"
)]
pub enum Rotated {
    /// The successor is current: now, or since a moment ago within the grace. The session is as it is, but
    /// for what this one access token is for.
    Current(User, Session),
    /// The session has ended, expired, is another client's, or never was.
    Dead,
    /// More is asked for than the session may hold, which is this. Nothing was changed.
    TooMuch(Scopes),
    /// It is asked for another resource than the session is for. Nothing was changed.
    OtherTarget,
    /// A spent token came back: the session is ended with this very transaction.
    Reused,
}

/// A new password of the owner's own choice.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// In which session it is asked for; this one goes on.
    pub session: SessionId,
    /// Which password was verified: see [`Credentials`].
    pub password_version: u64,
    /// The new one.
    pub password: PasswordHash,
    /// Now.
    pub now: SystemTime,
}

/// What became of a [`PasswordChange`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum PasswordChanged {
    /// It holds, and these other sessions are ended.
    Done(Vec<SessionId>),
    /// The password that was verified is not the current one any more. Nothing was changed.
    Overtaken,
    /// The session has ended or the account is disabled or gone. Nothing was changed.
    SignedOut,
}

/// One row of the table of changes, to be felt by every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Tokens of this session are refused from now on.
    SessionEnded(SessionId),
    /// Tokens that carry an older version of this account are refused.
    UserChanged {
        /// Whose.
        user: UserId,
        /// Since this version.
        version: u64,
    },
    /// Signing keys were added, rotated or revoked.
    KeysChanged,
}

/// Changes in their order, and where to go on reading.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// In order; not all of them at once, so read on until there are none.
    pub changes: Vec<(Change, SystemTime)>,
    /// Pass this to [`Store::changes_after`] next time.
    pub position: i64,
}

/// What a signing key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Access tokens.
    Access,
    /// Identity assertions: an assertion must never work as an access token.
    Assertion,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, so that verifiers learn it before it signs.
    Next,
    /// Signs.
    Current,
    /// Verifies until everything it signed has expired.
    Retired,
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The JWK thumbprint (RFC 7638) of the public key.
    pub kid: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// `ES256` or `EdDSA`.
    pub algorithm: Algorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// PKCS #8, sealed under the store's key.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ceased to sign.
    pub retired_at: Option<SystemTime>,
}

/// What tells two moments of the keys apart: which there are, and where they are in their lives.
pub(crate) fn states(keys: &[StoredKey]) -> BTreeMap<&str, KeyState> {
    keys.iter()
        .map(|key| (key.kid.as_str(), key.state))
        .collect()
}
