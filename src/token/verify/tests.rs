mod bytes;
mod claims;

use std::net::Ipv4Addr;

use http::Method;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::config::Algorithm as KeyAlgorithm;
use crate::domain::Amr;
use crate::domain::Session;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;
use crate::token::issue::AccessTokens;
use crate::token::issue::AssertionClaims;
use crate::token::issue::assertion;

impl Claims {
    /// Claims of a first-party session, to be changed at will by a test.
    pub(crate) fn for_test(user: UserId, session: SessionId) -> Self {
        Self {
            subject: Subject::User(user),
            session: Some(session),
            client: ClientId::first_party(),
            audience: Audience::Gateway,
            scopes: Scopes::default(),
            roles: Vec::new(),
            preferred_username: Some("alice".to_owned()),
            name: None,
            email: None,
            user_version: 1,
            authenticated_at: 0,
            methods: vec!["pwd".to_owned()],
            expires_at: u64::MAX,
            issuer: None,
            kid: None,
        }
    }
}

const ISSUER: &str = "https://gateway.example";
const NOW: u64 = 1_800_000_000;
const BOTH: [KeyAlgorithm; 2] = [KeyAlgorithm::Es256, KeyAlgorithm::EdDsa];

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn user() -> User {
    User {
        id: UserId::new(Uuid::from_u128(1)),
        username: Some(Username::parse("alice").unwrap()),
        email: Some(EmailAddress::parse("alice@example.com").unwrap()),
        email_verified: true,
        name: Some(DisplayName::parse("Älice").unwrap()),
        roles: vec![
            Role::parse("admin").unwrap(),
            Role::parse("editor").unwrap(),
        ],
        disabled: false,
        version: 7,
        created_at: at(0),
    }
}

fn session() -> Session {
    Session {
        id: SessionId::new(Uuid::from_u128(2)),
        user: user().id,
        client: ClientId::first_party(),
        scopes: Scopes::parse("notes:read profile").unwrap(),
        audience: None,
        authenticated_at: at(NOW - 100),
        amr: Amr::password(),
        expires_at: at(NOW + 10_000),
        address: Ipv4Addr::LOCALHOST.into(),
    }
}

fn issued(keys: &KeySet) -> String {
    let tokens = AccessTokens::new(ISSUER, Duration::from_secs(900));
    assert_eq!(tokens.expires_in(), 900);
    tokens.issue(keys, &user(), &session(), at(NOW))
}

fn judge(keys: &KeySet, token: &str) -> Result<Claims, Invalid> {
    Verifier::new(ISSUER).verify(keys, token, at(NOW))
}

/// The parts of a good token, to be tampered with.
struct Forge {
    keys: KeySet,
    header: Value,
    claims: Value,
}

impl Forge {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let keys = KeySet::for_test(algorithm);
        let token = issued(&keys);
        let part = |index| {
            let part = token.split('.').nth(index).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        Self {
            header: part(0),
            claims: part(1),
            keys,
        }
    }

    /// Signed with the true key.
    fn token(&self) -> String {
        self.sign(&self.header.to_string(), &self.claims.to_string())
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let key = self.keys.access();
        seal(header, claims, key.private(), key.algorithm())
    }

    #[track_caller]
    fn refused(&self, expected: Invalid) {
        assert_eq!(judge(&self.keys, &self.token()).err(), Some(expected));
    }

    #[track_caller]
    fn admitted(&self) -> Claims {
        judge(&self.keys, &self.token()).unwrap()
    }
}

fn seal(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn an_issued_token_says_who_calls() {
    for algorithm in BOTH {
        let keys = KeySet::for_test(algorithm);
        let claims = judge(&keys, &issued(&keys)).unwrap();
        assert_eq!(claims.subject, Subject::User(user().id));
        assert_eq!(claims.session, Some(session().id));
        assert!(claims.client.is_first_party());
        assert_eq!(claims.scopes.to_string(), "notes:read profile");
        assert_eq!(claims.roles, user().roles);
        assert_eq!(claims.preferred_username.as_deref(), Some("alice"));
        assert_eq!(claims.name, user().name);
        assert_eq!(claims.email, user().email);
        assert_eq!(claims.user_version, 7);
        assert_eq!(claims.authenticated_at, NOW - 100);
        assert_eq!(claims.methods, ["pwd"]);
        assert_eq!(claims.expires_at, NOW + 900);
        assert_eq!(claims.kid(), Some(keys.access().kid()));
    }
}

#[test]
fn a_token_has_the_form_of_rfc_9068() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let kid = forge.keys.access().kid();
    assert_eq!(
        forge.header,
        json!({"typ": "at+jwt", "alg": "ES256", "kid": kid})
    );
    let mut claims = forge.claims;
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
    claims.as_object_mut().unwrap().remove("jti");
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": "00000000-0000-0000-0000-000000000001", "aud": ISSUER,
            "exp": NOW + 900, "iat": NOW, "sid": "00000000-0000-0000-0000-000000000002",
            "scope": "notes:read profile", "client_id": "portcullis",
            "roles": ["admin", "editor"], "preferred_username": "alice", "name": "Älice",
            "email": "alice@example.com", "auth_time": NOW - 100, "amr": ["pwd"],
            "user_version": 7,
        })
    );
}

#[test]
fn an_unverified_address_is_not_told() {
    let keys = KeySet::for_test(KeyAlgorithm::Es256);
    let user = User {
        email_verified: false,
        username: None,
        ..user()
    };
    let tokens = AccessTokens::new(ISSUER, Duration::from_secs(900));
    let token = tokens.issue(&keys, &user, &session(), at(NOW));
    let claims = judge(&keys, &token).unwrap();
    assert_eq!(claims.email, None);
    assert_eq!(claims.preferred_username, Some(user.id.to_string()));
}

#[test]
fn a_clients_token_tells_name_and_address_by_its_scopes_and_roles_and_username_without() {
    let keys = KeySet::for_test(KeyAlgorithm::Es256);
    let tokens = AccessTokens::new(ISSUER, Duration::from_secs(900));
    let nameless = User {
        username: None,
        ..user()
    };
    let told = |user: &User, scopes: &str| {
        let session = Session {
            client: ClientId::parse("notes-sync").unwrap(),
            scopes: Scopes::parse(scopes).unwrap(),
            ..session()
        };
        let claims = judge(&keys, &tokens.issue(&keys, user, &session, at(NOW))).unwrap();
        assert_eq!(claims.roles, user.roles);
        let username = claims.preferred_username.unwrap();
        (username, claims.name.is_some(), claims.email.is_some())
    };
    let alice = || "alice".to_owned();
    assert_eq!(told(&user(), "notes:read"), (alice(), false, false));
    assert_eq!(told(&user(), "profile"), (alice(), true, false));
    assert_eq!(told(&user(), "email"), (alice(), false, true));
    let address = "alice@example.com".to_owned();
    assert_eq!(told(&nameless, "notes:read"), (address, false, false));
}

// SECURITY 19
#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens() {
    for algorithm in BOTH {
        let mut forge = Forge::new(algorithm);
        for alg in [
            "none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS256", "PS256", "ES384",
            "ES512", "es256",
        ] {
            forge.header["alg"] = json!(alg);
            forge.refused(Invalid::UnknownKey);
            let unsigned = forge.token();
            let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
            assert_eq!(
                judge(&forge.keys, unsigned).err(),
                Some(Invalid::UnknownKey)
            );
        }
        forge.header["alg"] = json!(["ES256"]);
        forge.refused(Invalid::UnknownKey);
        forge.header.as_object_mut().unwrap().remove("alg");
        forge.refused(Invalid::UnknownKey);
    }
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    forge.header["alg"] = json!("EdDSA");
    forge.refused(Invalid::UnknownKey);
}

// SECURITY 19
#[test]
fn a_public_key_is_no_shared_secret() {
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    forge.header["alg"] = json!("HS256");
    let public = forge.keys.access().verifying().try_get_as_bytes().unwrap();
    for secret in [public, forge.keys.jwks()] {
        let key = EncodingKey::from_secret(secret);
        let token = seal(
            &forge.header.to_string(),
            &forge.claims.to_string(),
            &key,
            Algorithm::HS256,
        );
        assert_eq!(judge(&forge.keys, &token).err(), Some(Invalid::UnknownKey));
    }
}

// SECURITY 20
#[test]
fn only_our_own_keys_count_by_their_exact_kid() {
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    let kid = forge.keys.access().kid().to_owned();
    for wrong in [
        "",
        "../../../../dev/null",
        "' OR 1=1 --",
        "x' UNION SELECT 'secret",
        "https://evil.example/jwks.json",
        &kid[1..],
        &format!("{kid} "),
        &format!("{kid}\0"),
        &kid.to_lowercase(),
        forge.keys.assertion().kid(),
    ] {
        let mut header = forge.header.clone();
        header["kid"] = json!(wrong);
        let token = forge.sign(&header.to_string(), &forge.claims.to_string());
        assert_eq!(
            judge(&forge.keys, &token).err(),
            Some(Invalid::UnknownKey),
            "{wrong}"
        );
    }
    for wrong in [json!(null), json!(1), json!([kid])] {
        forge.header["kid"] = wrong;
        forge.refused(Invalid::UnknownKey);
    }
    forge.header.as_object_mut().unwrap().remove("kid");
    forge.refused(Invalid::UnknownKey);
}

// SECURITY 20
#[test]
fn keys_that_a_token_brings_along_are_ignored() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let evil = KeySet::for_test(KeyAlgorithm::Es256);
    let jwks: Value = serde_json::from_slice(evil.jwks()).unwrap();
    for (name, value) in [
        ("jwk", jwks["keys"][0].clone()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = forge.header.clone();
        header[name] = value;
        let (header, claims) = (header.to_string(), forge.claims.to_string());
        let token = seal(&header, &claims, evil.access().private(), Algorithm::ES256);
        assert_eq!(
            judge(&forge.keys, &token).err(),
            Some(Invalid::BadSignature),
            "{name}"
        );
        let token = forge.sign(&header, &claims);
        assert!(judge(&forge.keys, &token).is_ok(), "{name}");
    }
}

// SECURITY 20
#[test]
fn whatever_is_critical_is_refused() {
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!(null),
        json!("x"),
    ] {
        let mut forge = Forge::new(KeyAlgorithm::Es256);
        forge.header["crit"] = crit;
        forge.refused(Invalid::WrongType);
    }
}

// SECURITY 22
#[test]
fn only_access_tokens_are_access_tokens() {
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    for typ in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+jwt",
    ] {
        forge.header["typ"] = json!(typ);
        forge.admitted();
    }
    for typ in [
        "JWT",
        "",
        "jwt",
        "at+jwt ",
        "logout+jwt",
        "dpop+jwt",
        "portcullis-assertion+jwt",
    ] {
        forge.header["typ"] = json!(typ);
        forge.refused(Invalid::WrongType);
    }
    forge.header["typ"] = json!(1);
    forge.refused(Invalid::WrongType);
    forge.header.as_object_mut().unwrap().remove("typ");
    forge.refused(Invalid::WrongType);
}

// SECURITY 22
#[test]
fn an_assertion_never_works_as_an_access_token() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let caller = forge.admitted();
    let said = AssertionClaims {
        // The worst route name there could be.
        route: ISSUER,
        caller: &caller,
        request: Some((&Method::POST, "https://app.example/notes")),
    };
    let token = assertion(&forge.keys, ISSUER, &said, at(NOW));
    assert_eq!(judge(&forge.keys, &token).err(), Some(Invalid::WrongType));

    // Not by its type alone: its key is none of those for access tokens either.
    let (header, rest) = token.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let claims = URL_SAFE_NO_PAD
        .decode(rest.split_once('.').unwrap().0)
        .unwrap();
    let renamed = header.replace("portcullis-assertion+jwt", "at+jwt");
    let key = forge.keys.assertion();
    let token = seal(
        &renamed,
        std::str::from_utf8(&claims).unwrap(),
        key.private(),
        key.algorithm(),
    );
    assert_eq!(judge(&forge.keys, &token).err(), Some(Invalid::UnknownKey));
}

// SECURITY 14
#[test]
fn an_assertion_says_who_called_which_route() {
    let forge = Forge::new(KeyAlgorithm::EdDsa);
    let mut caller = forge.admitted();
    caller.client = ClientId::parse("notes-sync").unwrap();
    let claims = |caller: &Claims, request| {
        let said = AssertionClaims {
            route: "notes",
            caller,
            request,
        };
        let token = assertion(&forge.keys, ISSUER, &said, at(NOW));
        let validation = Validation {
            algorithms: vec![Algorithm::EdDSA],
            aud: Some(HashSet::from(["notes".to_owned()])),
            validate_exp: false,
            ..Validation::default()
        };
        let key = forge.keys.assertion().verifying();
        let mut data = jsonwebtoken::decode::<Value>(&token, key, &validation).unwrap();
        assert_eq!(data.header.typ.as_deref(), Some("portcullis-assertion+jwt"));
        data.claims.as_object_mut().unwrap().remove("jti").unwrap();
        data.claims
    };
    let whole = json!({
        "iss": ISSUER, "aud": "notes", "sub": user().id.to_string(), "sid": session().id.to_string(),
        "client_id": "notes-sync", "scope": "notes:read profile", "roles": ["admin", "editor"],
        "preferred_username": "alice", "name": "Älice", "email": "alice@example.com",
        "amr": ["pwd"], "auth_time": NOW - 100, "iat": NOW, "exp": NOW + 60,
        "htm": "POST", "htu": "https://app.example/notes",
    });
    assert_eq!(
        claims(&caller, Some((&Method::POST, "https://app.example/notes"))),
        whole
    );

    caller.client = ClientId::first_party();
    let plain = claims(&caller, None);
    for absent in ["client_id", "htm", "htu"] {
        assert!(plain.get(absent).is_none(), "{absent}");
    }
}
