//! What the store keeps of devices that wait for somebody to let them in (RFC 8628).

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
use crate::store::ClientProof;
use crate::store::NewDelegatedSession;

/// What a device is given to wait with (RFC 8628 §3.2).
#[derive(Clone, Debug)]
pub struct NewDeviceCode {
    /// The hash of what it asks with.
    pub hash: TokenHash,
    /// The MAC of what it shows.
    pub user_code: TokenHash,
    /// For which client.
    pub client: ClientId,
    /// What its tokens may hold.
    pub scopes: Scopes,
    /// What its tokens are for; none is the gateway.
    pub audience: Option<Resource>,
    /// How long it waits before it asks again.
    pub interval: Duration,
    /// When both codes are worth nothing any more.
    pub expires_at: SystemTime,
}

/// A device about which nobody has decided.
#[derive(Clone, Debug)]
pub struct WaitingDevice {
    /// Whose it says to be.
    pub client: ClientId,
    /// What its tokens would hold.
    pub scopes: Scopes,
    /// What they would be for; none is the gateway.
    pub audience: Option<Resource>,
}

/// What somebody decides about a device.
#[derive(Clone, Debug)]
pub struct DeviceDecision {
    /// The MAC of what the device shows.
    pub user_code: TokenHash,
    /// Who.
    pub user: UserId,
    /// In which session of a browser.
    pub browser: SessionId,
    /// Whether it may.
    pub allow: bool,
    /// Now.
    pub now: SystemTime,
}

/// What somebody has decided about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedDevice {
    /// Whose it says to be.
    pub client: ClientId,
    /// Whether it may.
    pub is_allowed: bool,
}

/// A device asks whether somebody has let it in (RFC 8628 §3.4).
#[derive(Clone, Debug)]
pub struct DevicePoll {
    /// The hash of what it asks with; its MAC has been checked, so it was once ours.
    pub code: TokenHash,
    /// By which client.
    pub client: ClientId,
    /// By what that has proven itself.
    pub proof: ClientProof,
    /// What it says that the tokens are for, if it says anything: what was asked for, or less.
    pub target: Option<Option<Resource>>,
    /// How much longer it waits before it asks again if it did not wait (RFC 8628 §3.5).
    pub patience: Duration,
    /// What is opened.
    pub session: NewDelegatedSession,
}

/// What became of a [`DevicePoll`].
#[derive(Debug)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per question of a device, and moved once"
)]
pub enum Polled {
    /// The session is open.
    Opened {
        /// Whose it is.
        user: User,
        /// The session.
        session: Session,
    },
    /// Nobody has decided.
    Pending,
    /// Nobody has decided, and the device did not wait.
    TooSoon,
    /// Somebody said no, or has ended all that they had allowed.
    Denied,
    /// Nobody decided in time, or the answer was not fetched in time.
    Expired,
    /// It is asked for another resource than was allowed. Nothing was changed.
    OtherTarget,
    /// The code is another client's, or whoever allowed it or the client itself is gone.
    Refused,
    /// A spent code came back: what it had opened is ended with this very transaction.
    Replayed(Vec<SessionId>),
}
