//! OAuth clients, of which the gateway itself is one.

use std::fmt;

use crate::domain::DisplayName;
use crate::domain::Grant;
use crate::domain::Malformed;
use crate::domain::RedirectUri;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::TokenHash;
use crate::domain::User;

/// An OAuth client (RFC 6749 §2): of `[clients.NAME]`, or made by a command.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`.
    pub id: ClientId,
    /// What people know it by; its id where it has no name.
    pub name: Option<DisplayName>,
    /// Its secret, hashed; none of a public client (RFC 6749 §2.1).
    pub secret: Option<TokenHash>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// Where people may be sent once they have signed out.
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// What its tokens may hold.
    pub scopes: Scopes,
    /// By what it may get tokens.
    pub grants: Vec<Grant>,
    /// Whether people are asked.
    pub consent: Consent,
    /// Which people may sign in with it: those who have one of these roles; everybody where there are none.
    pub roles: Vec<Role>,
    /// For which resources it may ask beside those of the gateway's routes.
    pub resources: Vec<Resource>,
}

/// Whether people are asked before a client gets tokens for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Once, and again for more.
    Ask,
    /// Never: an app of the house.
    Skip,
}

impl Consent {
    /// The word of the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Skip => "skip",
        }
    }

    /// Reads the word of the file.
    ///
    /// # Errors
    ///
    /// Where it is no such word.
    pub fn parse(word: &str) -> Result<Self, Malformed> {
        let known = [Self::Ask, Self::Skip].into_iter();
        let mut known = known.filter(|consent| consent.word() == word);
        known.next().ok_or(Malformed("it must be ask or skip"))
    }
}

/// What is wrong with a client as a whole: in which of its keys, and what would be right.
pub type Conflict = (&'static str, Malformed);

impl Client {
    /// What is kept of a secret. A fast hash is right: the secret is long and random.
    pub fn hash(secret: &str) -> TokenHash {
        TokenHash::of(secret.as_bytes())
    }

    /// What people are told it is called.
    pub fn title(&self) -> &str {
        let name = self.name.as_ref().map(DisplayName::as_str);
        name.unwrap_or_else(|| self.id.as_str())
    }

    /// Whether it has no secret, so that anybody may say to be it.
    pub fn is_public(&self) -> bool {
        self.secret.is_none()
    }

    /// Whether it may get tokens by this grant.
    pub fn may(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    /// What a token of its own may hold: nothing that is said of people.
    pub fn machine_scopes(&self) -> Scopes {
        let scopes = self.scopes.iter();
        scopes
            .filter(|scope| !scope.is_of_people())
            .cloned()
            .collect()
    }

    /// What a token for a person holds where the client asks for this: all of it, or nothing that it may not hold.
    /// Without `scope` (RFC 6749 §3.3) it is all that the client may hold while the person is signed in.
    ///
    /// # Errors
    ///
    /// In words for the client (`invalid_scope`).
    pub fn scopes_for_people(&self, asked: Option<&str>) -> Result<Scopes, String> {
        let may_hold = &self.scopes;
        let Some(asked) = asked else {
            let without = |scope: &&Scope| scope.as_str() != Scope::OFFLINE_ACCESS;
            return Ok(may_hold.iter().filter(without).cloned().collect());
        };
        match Scopes::parse(asked) {
            Ok(scopes) if scopes.is_subset_of(may_hold) => Ok(scopes),
            _ => Err(format!("This client may hold these scopes: {may_hold}.")),
        }
    }

    /// Whether this person may sign in with it.
    pub fn admits(&self, user: &User) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|role| user.roles.contains(role))
    }

    /// Whether an answer may be sent to this very URI (SECURITY 35). The port of a native app is the one that
    /// its machine has given it (RFC 8252 §7.3); an app that keeps a secret is none.
    pub fn sends_to(&self, uri: &str) -> bool {
        let is_it =
            |own: &RedirectUri| own.is(uri) || (self.is_public() && own.is_but_for_port(uri));
        self.redirect_uris.iter().any(is_it)
    }

    /// What its parts say against each other.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let by_code = self.may(Grant::AuthorizationCode);
        let of_users = self.grants.iter().any(|grant| grant.is_of_users());
        let holds = |scope: &str| self.scopes.has(scope);
        let is_of_people = self.scopes.iter().any(Scope::is_of_people);
        let found = [
            (
                self.grants.is_empty(),
                "grants",
                "the client could get no token; name at least one of authorization_code, \
                 client_credentials and device_code",
            ),
            (
                self.is_public() && self.may(Grant::ClientCredentials),
                "grants",
                "a public client has no credentials of its own: give it a secret, or leave out \
                 client_credentials",
            ),
            (
                self.may(Grant::RefreshToken) && !of_users,
                "grants",
                "refresh_token renews what authorization_code or device_code got: add one of them, or \
                 leave it out",
            ),
            (
                by_code && self.redirect_uris.is_empty(),
                "redirect_uris",
                "authorization_code needs to know where codes may be sent",
            ),
            (
                !by_code && !self.redirect_uris.is_empty(),
                "redirect_uris",
                "nothing is sent there without authorization_code among the grants",
            ),
            (
                !of_users && !self.post_logout_redirect_uris.is_empty(),
                "post_logout_redirect_uris",
                "nobody signs in with this client, and so nobody signs out: leave them out",
            ),
            (
                !of_users && !self.roles.is_empty(),
                "roles",
                "nobody signs in with this client: leave them out, or add authorization_code to the grants",
            ),
            (
                !of_users && is_of_people,
                "scopes",
                "openid, profile, email and offline_access are about people, and nobody signs in with \
                 this client: leave them out",
            ),
            (
                of_users && holds(Scope::OFFLINE_ACCESS) && !self.may(Grant::RefreshToken),
                "scopes",
                "offline_access asks for a refresh token: add refresh_token to the grants",
            ),
        ];
        let found = found.into_iter().filter(|(is_wrong, ..)| *is_wrong);
        found.map(|(_, key, why)| (key, Malformed(why))).collect()
    }

    /// What is allowed, and better not done. RFC 8252 §8.6: whoever runs a program on a person's machine can
    /// say to be this client there.
    pub fn risk(&self) -> Option<Conflict> {
        let is_native = self.redirect_uris.iter().any(RedirectUri::is_native);
        let is_anybody = self.is_public() && is_native && self.consent == Consent::Skip;
        is_anybody.then_some((
            "consent",
            Malformed(
                "a native app cannot prove that it is itself, and nobody would be asked: any program on a \
                 person's machine gets what this client may hold",
            ),
        ))
    }
}

/// The `client_id` of an OAuth client (RFC 6749 §2.2): ASCII letters, digits, `-`, `_` and `.`,
/// 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Name);

/// Nearly every token is the gateway's own, and every request asks: no text to look at then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    FirstParty,
    Personal,
    /// Never a reserved one.
    Other(String),
}

impl ClientId {
    /// The reserved name under which the gateway's own login issues tokens.
    pub const FIRST_PARTY: &'static str = "portcullis";
    /// The reserved name of all personal tokens: a route that lists it under `clients` admits them without
    /// a scope.
    pub const PERSONAL: &'static str = "personal-token";

    /// Reads a client id.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text == Self::FIRST_PARTY {
            Ok(Self::first_party())
        } else if text == Self::PERSONAL {
            Ok(Self::personal())
        } else if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(Name::Other(text.to_owned())))
        } else {
            Err(Malformed(
                "a client id has 1 to 64 ASCII letters, digits, '-', '_' or '.'",
            ))
        }
    }

    /// The gateway itself.
    pub fn first_party() -> Self {
        Self(Name::FirstParty)
    }

    /// What a personal token passes for: no client that somebody else has.
    pub fn personal() -> Self {
        Self(Name::Personal)
    }

    /// Whether this is the gateway itself: everything else is delegated.
    pub fn is_first_party(&self) -> bool {
        self.0 == Name::FirstParty
    }

    /// Whether this is what personal tokens pass for.
    pub fn is_personal(&self) -> bool {
        self.0 == Name::Personal
    }

    /// Whether no client of anybody's can have this name.
    pub fn is_reserved(&self) -> bool {
        self.is_first_party() || self.is_personal()
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::FirstParty => Self::FIRST_PARTY,
            Name::Personal => Self::PERSONAL,
            Name::Other(name) => name,
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
