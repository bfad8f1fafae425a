//! ID tokens (OpenID Connect Core §2): who has signed in, said to one client.
//!
//! One must never work as an access token: it has another `typ`, and the client for its audience
//! (SECURITY 22). What it says of a person is what the scopes of its session let it say, and so is what
//! `userinfo` says.

use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Serialize;

use crate::clock::unix_seconds;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::User;
use crate::domain::Username;
use crate::keys::KeySet;

/// What clients are told of a person (OpenID Connect Core §5.1), as far as scopes allow it.
#[derive(Clone, Debug, Serialize)]
pub struct PersonClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

impl<'a> PersonClaims<'a> {
    /// The names of all of them.
    pub const NAMES: [&'static str; 5] = [
        "name",
        "preferred_username",
        "roles",
        "email",
        "email_verified",
    ];

    /// What these scopes allow. An address is told only once it is the person's (OpenID Connect Core §5.7
    /// leaves it to clients to look at `email_verified`, and not all do).
    pub fn new(user: &'a User, scopes: &Scopes) -> Self {
        let profile = scopes.has(Scope::PROFILE);
        let email = user.email.as_ref().filter(|_| user.email_verified);
        let email = email.filter(|_| scopes.has(Scope::EMAIL));
        let name = user.name.as_ref().filter(|_| profile);
        let username = user.username.as_ref().filter(|_| profile);
        Self {
            name: name.map(DisplayName::as_str),
            preferred_username: username.map(Username::as_str),
            roles: profile.then(|| user.roles.iter().map(Role::as_str).collect()),
            email: email.map(EmailAddress::as_str),
            email_verified: email.map(|_| true),
        }
    }
}

/// What an ID token is made of.
#[derive(Clone, Copy, Debug)]
pub struct IdToken<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The person, as just read from the store.
    pub user: &'a User,
    /// The session of the client, which is its audience.
    pub session: &'a Session,
    /// What the client sent with the request.
    pub nonce: Option<&'a str>,
    /// The access token that is given along.
    pub access_token: &'a str,
    /// How long it is good for.
    pub ttl: Duration,
}

impl IdToken<'_> {
    /// Signs it, by the key of access tokens: the one that clients find for this issuer.
    pub fn sign(&self, keys: &KeySet, now: SystemTime) -> String {
        let key = keys.access();
        let claims = Claims {
            iss: self.issuer,
            sub: self.user.id.to_string(),
            aud: self.session.client.as_str(),
            exp: unix_seconds(now + self.ttl),
            iat: unix_seconds(now),
            auth_time: unix_seconds(self.session.authenticated_at),
            nonce: self.nonce,
            acr: self.session.amr.context(),
            amr: self.session.amr.methods(),
            at_hash: half_hash(key.algorithm(), self.access_token),
            sid: self.session.id.to_string(),
            person: PersonClaims::new(self.user, &self.session.scopes),
        };
        key.sign(ID_TYPE, &claims)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: u64,
    iat: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'static str,
    amr: &'a [String],
    at_hash: String,
    sid: String,
    #[serde(flatten)]
    person: PersonClaims<'a>,
}

/// The left half of the hash that belongs to the algorithm (OpenID Connect Core §3.1.3.6); Ed25519 hashes with
/// SHA-512 (RFC 8032 §5.1).
pub(super) fn half_hash(algorithm: Algorithm, token: &str) -> String {
    let hash = match algorithm {
        Algorithm::ES384 | Algorithm::RS384 | Algorithm::PS384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let hash = digest::digest(hash, token.as_bytes());
    let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

/// `typ`
pub(super) const ID_TYPE: &str = "JWT";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::config::Algorithm as KeyAlgorithm;
    use crate::domain::Amr;
    use crate::domain::ClientId;
    use crate::domain::SessionId;
    use crate::domain::UserId;
    use crate::token::issue::AccessTokens;
    use crate::token::verify::Invalid;
    use crate::token::verify::Verifier;

    const ISSUER: &str = "https://gateway.example";
    const TTL: Duration = Duration::from_secs(900);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn user() -> User {
        User {
            id: UserId::new(Uuid::from_u128(1)),
            username: Username::parse("alice").ok(),
            email: EmailAddress::parse("alice@example.com").ok(),
            email_verified: true,
            name: DisplayName::parse("Älice").ok(),
            roles: vec![Role::parse("admin").unwrap()],
            disabled: false,
            version: 1,
            created_at: at(0),
        }
    }

    fn session(scopes: &str) -> Session {
        Session {
            id: SessionId::new(Uuid::from_u128(2)),
            user: user().id,
            client: ClientId::parse("notes-web").unwrap(),
            scopes: Scopes::parse(scopes).unwrap(),
            audience: None,
            authenticated_at: at(0),
            amr: Amr::password(),
            expires_at: at(10_000),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn signed(keys: &KeySet, user: &User, scopes: &str, nonce: Option<&str>) -> String {
        let token = IdToken {
            issuer: ISSUER,
            user,
            session: &session(scopes),
            nonce,
            access_token: "access",
            ttl: TTL,
        };
        token.sign(keys, at(5))
    }

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    // SECURITY 22, 45
    #[test]
    fn an_id_token_says_who_signed_in_and_opens_nothing() {
        for algorithm in [KeyAlgorithm::Es256, KeyAlgorithm::EdDsa] {
            let keys = KeySet::for_test(algorithm);
            let token = signed(&keys, &user(), "openid", Some("n-0S6"));
            let header = part(&token, 0);
            assert_eq!(header["typ"], "JWT");
            assert_eq!(header["kid"], keys.access().kid());
            assert_ne!(header["kid"], keys.assertion().kid());
            let claims = part(&token, 1);
            let expected = serde_json::json!({
                "iss": ISSUER,
                "sub": user().id.to_string(),
                "aud": "notes-web",
                "exp": 1_800_000_905,
                "iat": 1_800_000_005,
                "auth_time": 1_800_000_000,
                "nonce": "n-0S6",
                "acr": "1",
                "amr": ["pwd"],
                "at_hash": claims["at_hash"],
                "sid": session("").id.to_string(),
            });
            assert_eq!(claims, expected);
            let judged = Verifier::new(ISSUER).verify(&keys, &token, at(5));
            assert_eq!(judged.unwrap_err(), Invalid::WrongType);
        }
    }

    #[test]
    fn the_hash_of_the_access_token_is_the_algorithms_own() {
        let algorithms = [Algorithm::ES256, Algorithm::RS384, Algorithm::EdDSA];
        let hashes = algorithms.map(|it| half_hash(it, "access"));
        let lengths = hashes.map(|hash| URL_SAFE_NO_PAD.decode(hash).unwrap().len());
        assert_eq!(lengths, [16, 24, 32]);
        // The example of OpenID Connect Core, appendix A.3.
        let example = half_hash(
            Algorithm::ES256,
            "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
        );
        assert_eq!(example, "77QmUPtjPfzWtF2AnpK9RQ");
    }

    // SECURITY 43
    #[test]
    fn a_client_is_told_what_its_scopes_allow() {
        let told = |user: &User, scopes| {
            let scopes = Scopes::parse(scopes).unwrap();
            serde_json::to_value(PersonClaims::new(user, &scopes)).unwrap()
        };
        assert_eq!(told(&user(), "openid notes:read"), serde_json::json!({}));
        let profile = serde_json::json!({
            "name": "Älice", "preferred_username": "alice", "roles": ["admin"],
        });
        assert_eq!(told(&user(), "profile"), profile);
        let email = serde_json::json!({"email": "alice@example.com", "email_verified": true});
        assert_eq!(told(&user(), "email"), email);
        let unverified = User {
            email_verified: false,
            ..user()
        };
        assert_eq!(told(&unverified, "email"), serde_json::json!({}));
    }

    // SECURITY 43
    #[test]
    fn nor_is_more_to_be_read_in_its_access_token() {
        let keys = KeySet::for_test(KeyAlgorithm::Es256);
        let tokens = AccessTokens::new(ISSUER, TTL);
        let said = |scopes| part(&tokens.issue(&keys, &user(), &session(scopes), at(5)), 1);
        let bare = said("notes:read");
        assert_eq!((bare.get("name"), bare.get("email")), (None, None));
        assert_eq!(bare["client_id"], "notes-web");
        let all = said("email profile");
        assert_eq!(all["name"], "Älice");
        assert_eq!(all["email"], "alice@example.com");
    }
}
