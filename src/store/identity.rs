//! What is kept of people who sign in with other providers.

use std::time::SystemTime;

use crate::domain::ProviderIdentity;
use crate::domain::Role;
use crate::domain::SessionId;
use crate::store::Credentials;

/// Who somebody is with a provider, as it says just now.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// Who.
    pub identity: ProviderIdentity,
    /// What the person is called there.
    pub shown: String,
    /// The roles that it gives; sorted, without repeats.
    pub roles: Vec<Role>,
}

/// An account that an identity opens.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The account, as it is now.
    pub account: Credentials,
    /// It is another than before this transaction: that is to be felt before the answer.
    pub is_changed: bool,
}

/// An identity of an account.
#[derive(Clone, Debug)]
pub struct LinkedIdentity {
    /// Who.
    pub identity: ProviderIdentity,
    /// What the person is called there.
    pub shown: String,
    /// Since when.
    pub linked_at: SystemTime,
}

/// What shows that an account is the person's own.
#[derive(Clone, Copy, Debug)]
pub enum LinkProof {
    /// Its password, by the version that was verified: see [`Credentials`].
    Password(u64),
    /// Its session, which must be alive.
    Session(SessionId),
}

/// What became of an identity that was to be linked.
#[derive(Debug)]
#[must_use]
pub enum Linked {
    /// It opens the account from now on.
    Done(Opened),
    /// It is linked to another account.
    Taken,
    /// The account is linked to somebody else of the same provider.
    HasAnother,
    /// The proof does not hold any more, or the account is disabled or gone.
    Overtaken,
}

/// What became of an identity that was to be unlinked.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Unlinked {
    /// It opens nothing any more, these other sessions are ended, and the account is of this version.
    Done(Vec<SessionId>, u64),
    /// There is none of this issuer.
    NotThere,
    /// Nobody could sign in any more: there is no password and no other provider.
    LastWay,
    /// The session has ended, or the account is disabled or gone.
    SignedOut,
}
