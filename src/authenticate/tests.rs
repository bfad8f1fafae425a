//! One core's memory of tokens: what it remembers, and what ends that.

use std::net::Ipv4Addr;
use std::time::Duration;

use arc_swap::ArcSwap;
use uuid::Uuid;

use crate::config::Algorithm;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;
use crate::keys::KeySet;
use crate::store::Change;
use crate::token::issue::AccessTokens;

use super::*;

const ISSUER: &str = "https://localhost:8443";
const TTL: Duration = Duration::from_secs(60);

/// An authenticator with room for two tokens, and what it judges by.
struct Bench {
    clock: Clock,
    keys: SharedKeys,
    revocations: Arc<Revocations>,
    authenticator: Authenticator,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::default();
        let keys: SharedKeys = Arc::new(ArcSwap::from_pointee(KeySet::for_test(Algorithm::Es256)));
        let revocations = Arc::new(Revocations::default());
        let judge = Judge::new(
            Verifier::new(ISSUER),
            Arc::clone(&keys),
            Arc::clone(&revocations),
            Arc::default(),
            clock.clone(),
        );
        Self {
            authenticator: Authenticator::new(judge, 2),
            clock,
            keys,
            revocations,
        }
    }

    fn token(&self, session: u128) -> String {
        let now = self.clock.now();
        let user = User {
            id: UserId::new(Uuid::from_u128(1)),
            username: Username::parse("alice").ok(),
            email: None,
            email_verified: false,
            name: None,
            roles: Vec::new(),
            disabled: false,
            version: 1,
            created_at: now,
        };
        let session = Session {
            id: SessionId::new(Uuid::from_u128(session)),
            user: user.id,
            client: ClientId::first_party(),
            scopes: Scopes::default(),
            audience: None,
            authenticated_at: now,
            amr: Amr::password(),
            expires_at: now + TTL,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let tokens = AccessTokens::new(ISSUER, TTL);
        tokens.issue(&self.keys.load(), &user, &session, now)
    }

    fn ask(&self, token: &str) -> Result<Identity, Unauthenticated> {
        let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        self.authenticator.identify(Some(&header), &[])
    }
}

#[track_caller]
fn refused(asked: Result<Identity, Unauthenticated>, reason: Reason) {
    assert_eq!(asked.unwrap_err(), Unauthenticated::Refused(reason));
}

// SECURITY 21
#[test]
fn a_token_is_remembered_by_all_of_its_bytes() {
    let bench = Bench::new();
    let token = bench.token(7);
    let first = bench.ask(&token).unwrap();
    assert!(first.same(&bench.ask(&token).unwrap()));
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        let mut changed = token.clone();
        changed.replace_range(at..=at, other);
        let asked = bench.ask(&changed);
        assert!(matches!(asked, Err(Unauthenticated::Refused(_))), "{at}");
    }
    for (_, cut) in token
        .char_indices()
        .skip(1)
        .map(|(at, _)| token.split_at(at))
    {
        assert!(bench.ask(cut).is_err(), "{cut}");
    }
    assert!(bench.ask(&format!("A{token}")).is_err());
    assert!(first.same(&bench.ask(&token).unwrap()));
}

// SECURITY 21
#[test]
fn what_is_remembered_ends_with_its_token() {
    let bench = Bench::new();
    let token = bench.token(7);
    bench.ask(&token).unwrap();
    bench
        .clock
        .advance(TTL + Verifier::LEEWAY - Duration::from_secs(2));
    bench.ask(&token).unwrap();
    bench.clock.advance(Duration::from_secs(2));
    refused(bench.ask(&token), Reason::Invalid(Invalid::Expired));
}

#[test]
fn what_is_remembered_ends_with_its_session() {
    let bench = Bench::new();
    let (token, other) = (bench.token(7), bench.token(8));
    bench.ask(&token).unwrap();
    bench.ask(&other).unwrap();
    let ended = Change::SessionEnded(SessionId::new(Uuid::from_u128(7)));
    bench.revocations.apply(ended, bench.clock.now());
    refused(bench.ask(&token), Reason::SessionEnded);
    bench.ask(&other).unwrap();
}

// SECURITY 20
#[test]
fn what_is_remembered_ends_with_its_keys() {
    let bench = Bench::new();
    let token = bench.token(7);
    bench.ask(&token).unwrap();
    bench
        .keys
        .store(Arc::new(KeySet::for_test(Algorithm::Es256)));
    refused(bench.ask(&token), Reason::Invalid(Invalid::UnknownKey));
}

#[test]
fn what_is_forgotten_is_verified_again() {
    let bench = Bench::new();
    let tokens: Vec<_> = (0..5).map(|session| bench.token(session)).collect();
    for _ in 0..2 {
        for (session, token) in (0..).zip(&tokens) {
            let identity = bench.ask(token).unwrap();
            assert_eq!(identity.session(), Uuid::from_u128(session).to_string());
            assert_eq!(identity.subject(), Uuid::from_u128(1).to_string());
            assert_eq!(identity.told().user.as_ref().unwrap(), "alice");
        }
    }
}

#[test]
fn a_credential_is_one_bearer_token() {
    let parse = |text: &'static str| {
        let header = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        token(bearer(Some(&header))?).map(str::to_owned)
    };
    assert_eq!(parse("Bearer abc.def"), Ok("abc.def".to_owned()));
    assert_eq!(parse("bearer  abc"), Ok("abc".to_owned()));
    assert_eq!(bearer(None), Err(Unauthenticated::Absent));
    for bad in [
        "",
        "Bearer",
        "Bearer ",
        "abc",
        "Basic dTpw",
        "Bearer a b",
        "Bearer a,b",
        "Bearer é",
        "Bearer\tabc",
    ] {
        assert_eq!(
            parse(bad),
            Err(Unauthenticated::Refused(Reason::Malformed)),
            "{bad:?}"
        );
    }
}
