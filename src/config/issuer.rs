//! Other issuers whose access tokens are believed: `[issuers.NAME]`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::Position;
use crate::config::UpstreamTrust;
use crate::domain::Resource;

/// `[issuers.NAME]`
#[derive(Clone, Debug)]
pub struct Issuer {
    /// NAME: what its callers are called by, and what routes list.
    pub name: Arc<str>,
    /// `issuer`: the `iss` of its tokens, to the letter.
    pub url: Arc<str>,
    /// `audiences`: a token must be for one of them.
    pub audiences: Vec<String>,
    /// Which of them are the `audience` of a route: a token for nothing but these opens only such routes.
    pub resources: Vec<Resource>,
    /// `algorithms`: what its keys may be used with; the first that fits where a key does not say.
    pub algorithms: Vec<IssuerAlgorithm>,
    /// `typ`: what its access tokens call themselves, lower case and without `application/`.
    pub types: Vec<String>,
    /// `jwks_url`; asked for by discovery when left out.
    pub jwks_url: Option<Url>,
    /// `ca`: whose certificates are believed when its keys are fetched.
    pub trust: UpstreamTrust,
    /// `claims`: where its tokens say what.
    pub claims: ClaimPaths,
    /// `refresh`: how often its keys are asked for where it does not say itself. 10 min.
    pub refresh: Duration,
    /// `max_stale`: for how long its keys are believed when no newer ones can be had. 24 h.
    pub max_stale: Duration,
    /// Where it stands in the file.
    pub position: Position,
}

/// Where the facts of a caller stand in the claims of a token: names from the outside in. Empty: nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPaths {
    /// `user`: `preferred_username`.
    pub user: Vec<String>,
    /// `name`: `name`.
    pub name: Vec<String>,
    /// `email`: `email`; told only where `email_verified` is true.
    pub email: Vec<String>,
    /// `roles`: nowhere.
    pub roles: Vec<String>,
    /// `scopes`: `scope`.
    pub scopes: Vec<String>,
}

/// The signatures that may be asked for: asymmetric ones alone (RFC 8725 §3.1, §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerAlgorithm {
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
}

impl IssuerAlgorithm {
    /// All of them, by the names of RFC 7518 §3.1 and RFC 8037 §3.1.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
    ];
}

impl fmt::Display for IssuerAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, known)| known == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}
