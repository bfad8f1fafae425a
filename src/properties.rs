//! What holds whatever a stranger sends: one property for each parser that reads his bytes.
//!
//! The suite tries them on generated input and on everything below `fuzz/seeds` and
//! `fuzz/regressions`; `cargo fuzz` tries them for as long as it is let. A property panics where it
//! does not hold. Nothing of this is in the gateway that is served.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Uri;
use ipnet::IpNet;
use uuid::Uuid;

use crate::authenticate::Authenticator;
use crate::authenticate::Judge;
use crate::clock::Clock;
use crate::clock::unix_seconds;
use crate::config;
use crate::config::Algorithm;
use crate::config::Config;
use crate::config::fold;
use crate::domain::Amr;
use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::Session;
use crate::domain::SessionId;
use crate::domain::User;
use crate::domain::UserId;
use crate::domain::Username;
use crate::edge::proxy_protocol;
use crate::edge::proxy_protocol::Parsed;
use crate::gate::inbound::Inbound;
use crate::gate::path::RequestPath;
use crate::gate::request_id::RequestIds;
use crate::gate::source::Address;
use crate::gate::source::Connection;
use crate::gate::source::Source;
use crate::gate::strip::Trust;
use crate::keys::KeySet;
use crate::limiter::LimitKey;
use crate::limiter::Policy;
use crate::limiter::Verdict;
use crate::revocations::Revocations;
use crate::token::cookie::SESSION_COOKIE;
use crate::token::issue::AccessTokens;
use crate::token::verify::Verifier;

/// A property, by the name of its fuzz target and of its folders of inputs.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Property; 8] = [
    ("path", path),
    ("headers", headers),
    ("forwarded_for", forwarded_for),
    ("authorization", authorization),
    ("claims", claims),
    ("rate", rate),
    ("configuration", configuration),
    ("proxy_header", proxy_header),
];

/// A path that is accepted has no dot segment and no control byte, neither as it stands nor in the
/// most eager reading that is accepted, and is kept byte for byte (SECURITY 6).
///
/// # Panics
///
/// Where that does not hold.
pub fn path(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else {
        return;
    };
    let Some(target) = uri.path_and_query().cloned() else {
        return;
    };
    let sent = target.as_str().to_owned();
    let Ok(path) = RequestPath::check(target) else {
        return;
    };
    assert_eq!(path.target().as_str(), sent);
    assert!(path.as_str().starts_with('/'));
    assert!(!path.as_str().contains('#'));
    assert_harmless(path.segments());
    if let Ok(understood) = path.understood() {
        assert_harmless(understood.iter());
        assert!(
            understood
                .iter()
                .all(|segment| !segment.contains(['/', '\\', ';']))
        );
    }
    for count in 0..=path.segments().count().min(16) {
        let first = path.first_segments(count);
        assert!(path.as_str().starts_with(first));
    }
}

fn assert_harmless(segments: impl Iterator<Item = impl AsRef<str>>) {
    for segment in segments {
        let segment = segment.as_ref();
        assert!(!matches!(segment, "." | ".."), "{segment:?}");
        assert!(!segment.contains(|character: char| character.is_ascii_control()));
    }
}

/// The first line is the request target, the others are header lines, and a `!` in front makes the
/// peer a trusted proxy. What passes carries no identity in any spelling, nothing hop-by-hop,
/// nothing that a stranger says about where he is, and not our cookie (SECURITY 13, 15 and 17).
///
/// # Panics
///
/// Where that does not hold.
pub fn headers(data: &[u8]) {
    let (trusted, data) = match data.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, data),
    };
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(target) = Uri::try_from(lines.next().unwrap_or_default()) else {
        return;
    };
    let mut request = Request::new(());
    *request.uri_mut() = target;
    *request.headers_mut() = header_lines(lines);

    let peer = if trusted { PROXY } else { STRANGER };
    let connection = Connection {
        peer: Address::new(peer.into()),
        tls: true,
        certificate: None,
    };
    let Ok(inbound) = Inbound::new(&connection, request, &TRUST, &RequestIds::default()) else {
        return;
    };
    assert_eq!(inbound.source().through_proxy, trusted);
    assert!(trusted || inbound.source().address.ip() == IpAddr::from(STRANGER));
    let host = inbound.host().name();
    assert!(!host.is_empty() && !host.contains(['@', '/', '#', '?', '\\']));
    assert_eq!(host, host.to_ascii_lowercase());
    for (name, value) in inbound.headers() {
        assert_passes(name, value, trusted);
    }
    for (name, _) in inbound.unusual_headers() {
        assert!(!is_identity(name), "{name}");
    }
}

fn header_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else {
            continue;
        };
        let value = HeaderValue::from_bytes(value.strip_prefix(b":").unwrap_or(value));
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
    headers
}

fn assert_passes(name: &HeaderName, value: &HeaderValue, trusted: bool) {
    let text = name.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(text.bytes().all(plain), "{text}");
    assert!(!is_identity(name), "{text}");
    let hop_by_hop = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "authorization",
    ];
    assert!(!hop_by_hop.contains(&text), "{text}");
    assert!(text != "te" || value == "trailers");
    let forwarding = text.starts_with("x-forwarded-") || ["x-real-ip", "via"].contains(&text);
    assert!(trusted || !forwarding, "{text}");
    assert!(!["forwarded", "x-original-url"].contains(&text), "{text}");
    if text == "cookie" {
        let mut pairs = value.as_bytes().split(|byte| *byte == b';');
        let is_ours = |pair: &[u8]| {
            let name = pair.split(|byte| *byte == b'=').next();
            name.map(<[u8]>::trim_ascii) == Some(SESSION_COOKIE.as_bytes())
        };
        assert!(!pairs.any(is_ours), "{value:?}");
    }
}

/// By another way than the gate's own: the folded name against the folded names.
fn is_identity(name: &HeaderName) -> bool {
    let folded = fold(name.as_str());
    let facts = [
        "user",
        "user-id",
        "name",
        "email",
        "roles",
        "scopes",
        "session",
        "method",
        "client",
        "assertion",
    ];
    let fact = folded.strip_prefix("x-auth-");
    fact.is_some_and(|fact| facts.contains(&fact)) || folded == "x-webauth-user"
}

/// Lines of `X-Forwarded-For`, the first byte chooses the peer. A stranger stays who he is; a proxy
/// is believed only as far as the chain of trusted hops goes (SECURITY 15).
///
/// # Panics
///
/// Where that does not hold.
pub fn forwarded_for(data: &[u8]) {
    let (trusted, data) = match data.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, data),
    };
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let peer = IpAddr::from(if trusted { PROXY } else { STRANGER });
    let source = Source::resolve(&Address::new(peer), &PROXIES, &headers);
    let told = source.forwarded_for();
    let told: Vec<Option<IpAddr>> = told
        .to_str()
        .unwrap_or_default()
        .split(", ")
        .map(|hop| hop.parse().ok())
        .collect();
    assert!(!told.contains(&None), "{source:?}");
    let told: Vec<IpAddr> = told.into_iter().flatten().collect();
    let (first, hops) = told.split_at(1);
    assert_eq!(first, [source.address.ip()]);
    if !trusted {
        assert_eq!(source.address.ip(), peer);
    }
    let is_trusted = |hop: &IpAddr| PROXIES.iter().any(|network| network.contains(hop));
    assert!(hops.iter().all(is_trusted), "{told:?}");
    assert!(hops.is_empty() || hops.last() == Some(&peer), "{told:?}");
}

/// The beginning of a connection of a balancer. A header ends where it ends, however it arrives and
/// whatever is behind it: nothing of it is left in front of TLS, and nothing of TLS is taken for it.
///
/// # Panics
///
/// Where that does not hold.
pub fn proxy_header(data: &[u8]) {
    let parsed = proxy_protocol::parse(data);
    let Parsed::Whole(_, length) = parsed else {
        return;
    };
    let (header, _) = data.split_at(length);
    assert_eq!(proxy_protocol::parse(header), parsed);
    assert!(length <= 4096);
    for cut in 0..length {
        let (begun, _) = header.split_at(cut);
        assert_eq!(proxy_protocol::parse(begun), Parsed::Partial, "{cut}");
    }
}

/// The value of an `Authorization` header, in which `TOKEN` stands for a good token. It is accepted
/// exactly where it is the scheme, blanks and the token (SECURITY 23).
///
/// # Panics
///
/// Where that does not hold.
pub fn authorization(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace("TOKEN", &BENCH.token);
    let Ok(header) = HeaderValue::from_bytes(text.as_bytes()) else {
        return;
    };
    let is_good = text
        .to_ascii_lowercase()
        .strip_prefix("bearer ")
        .is_some_and(|_| text.get(7..).map(str::trim_ascii) == Some(&BENCH.token));
    let authenticator = Authenticator::new(BENCH.judge.clone(), 1000);
    for _ in 0..2 {
        let identified = authenticator.identify(Some(&header), &[]);
        assert_eq!(identified.is_ok(), is_good, "{text:?}: {identified:?}");
    }
}

/// The claims of a token that is signed by the gateway's own key. What is accepted was made for us
/// and is not over, and its every value may stand in a header (SECURITY 16 and 21).
///
/// # Panics
///
/// Where that does not hold.
pub fn claims(data: &[u8]) {
    let token = BENCH.keys.access().seal("at+jwt", data);
    let Ok(header) = HeaderValue::try_from(format!("Bearer {token}")) else {
        return;
    };
    let Ok(identity) = BENCH.judge.identify(Some(&header)) else {
        return;
    };
    // What is accepted is JSON; nothing else has an `iss`.
    let read: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    assert_eq!(read.get("iss").and_then(|iss| iss.as_str()), Some(ISSUER));
    let now = unix_seconds(BENCH.clock.now());
    let expires_at = read.get("exp").and_then(serde_json::Value::as_u64);
    assert!(expires_at.is_some_and(|exp| exp + Verifier::LEEWAY.as_secs() > now));
    assert_eq!(
        read.get("sub").and_then(|sub| sub.as_str()),
        Some(identity.subject())
    );
    assert_eq!(
        read.get("sid").and_then(|sid| sid.as_str()),
        Some(identity.session())
    );
    let told = identity.told();
    for value in [
        &told.user,
        &told.user_id,
        &told.name,
        &told.email,
        &told.roles,
        &told.scopes,
    ] {
        let plain = |byte: &u8| (0x20..0x7f).contains(byte);
        assert!(
            value.iter().all(|value| value.as_bytes().iter().all(plain)),
            "{value:?}"
        );
    }
}

/// A rate that is read is shown as what is read as the same again, and a limit that is made of it
/// admits its burst and no more (SECURITY 47).
///
/// # Panics
///
/// Where that does not hold.
pub fn rate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(Some(rate)) = config::rate(&text) else {
        return;
    };
    assert_eq!(config::rate(&rate.to_string()), Ok(Some(rate)));
    assert!(rate.period >= Duration::from_secs(1) && rate.period.subsec_nanos() == 0);
    let policy = Policy::new("rate", rate, 1);
    let admitted =
        |policy: &Policy| matches!(policy.spend(&LimitKey::Everybody), Verdict::Admitted { .. });
    assert!(admitted(&policy));
    // Where less than one comes back while this runs, the burst is exact.
    if rate.burst.get() <= 1000 && rate.period / rate.count.get() > Duration::from_secs(60) {
        let more = (0..rate.burst.get()).filter(|_| admitted(&policy)).count();
        assert_eq!(more + 1, rate.burst.get() as usize);
    }
}

/// Every problem of a file stands at a place of that file, and a file without one makes routes that
/// can be found (SECURITY 7 and 59).
///
/// # Panics
///
/// Where that does not hold.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let problems = match Config::of_text(text) {
        Ok(loaded) => {
            assert!(
                loaded
                    .config
                    .routes
                    .iter()
                    .all(|route| !route.paths.is_empty())
            );
            let _ = Trust::new(&loaded.config);
            loaded.warnings
        }
        Err(problems) => {
            assert!(!problems.problems.is_empty());
            problems.problems
        }
    };
    let lines: Vec<_> = text.split('\n').collect();
    for problem in problems {
        let place = problem.position;
        let line = lines.get(place.line.wrapping_sub(1)).copied();
        let columns = line.map_or(0, |line| line.chars().count() + 1);
        assert!((1..=columns).contains(&place.column), "{problem:?}");
        assert!(!problem.message.is_empty());
    }
}

const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ISSUER: &str = "https://gateway.example";

static PROXIES: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = ["10.0.0.0/8", "fd00::/8"];
    networks
        .into_iter()
        .filter_map(|network| network.parse().ok())
        .collect()
});

/// Of a gateway that trusts one network and tells one app who is calling under another name.
#[expect(clippy::expect_used, reason = "a constant")]
static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let text = r#"
        [gateway]
        public_url = "https://gateway.example"
        trusted_proxies = ["10.0.0.0/8"]
        [[listeners]]
        address = "127.0.0.1:8443"
        [routes.app]
        path = "/"
        upstream = "echo"
        identity = { user = "X-WEBAUTH-USER" }
    "#;
    Trust::new(&Config::of_text(text).expect("it is good").config)
});

/// Keys, a judge who knows them, and a token that he finds good.
struct Bench {
    clock: Clock,
    keys: Arc<KeySet>,
    judge: Judge,
    token: String,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let clock = Clock::default();
    let keys = Arc::new(KeySet::for_test(Algorithm::Es256));
    let now = clock.now();
    let tokens = AccessTokens::new(ISSUER, Duration::from_secs(366 * 86_400));
    Bench {
        judge: Judge::new(
            Verifier::new(ISSUER),
            Arc::new(ArcSwap::new(Arc::clone(&keys))),
            Arc::new(Revocations::default()),
            Arc::default(),
            clock.clone(),
        ),
        token: tokens.issue(&keys, &user(now), &session(now), now),
        keys,
        clock,
    }
});

fn user(now: SystemTime) -> User {
    User {
        id: UserId::new(Uuid::from_u128(1)),
        username: Username::parse("alice").ok(),
        email: None,
        email_verified: false,
        name: None,
        roles: Vec::new(),
        disabled: false,
        version: 1,
        created_at: now,
    }
}

fn session(now: SystemTime) -> Session {
    Session {
        id: SessionId::new(Uuid::from_u128(2)),
        user: UserId::new(Uuid::from_u128(1)),
        client: ClientId::first_party(),
        scopes: Scopes::default(),
        audience: None,
        authenticated_at: now,
        amr: Amr::password(),
        expires_at: now + Duration::from_secs(366 * 86_400),
        address: Ipv4Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    /// What the fuzzers start from, and what they have found.
    fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        ["seeds", "regressions"]
            .into_iter()
            .filter_map(|kind| fs::read_dir(fuzz.join(kind).join(target)).ok())
            .flatten()
            .map(|entry| entry.unwrap().path())
            .map(|file| (file.display().to_string(), fs::read(file).unwrap()))
            .collect()
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "shown where one fails")]
    fn what_the_fuzzers_start_from_and_have_found_holds() {
        for (target, property) in ALL {
            let inputs = kept(target);
            assert!(!inputs.is_empty(), "fuzz/seeds/{target} is empty");
            for (name, data) in inputs {
                println!("{name}");
                property(&data);
            }
        }
    }

    /// Otherwise the fuzzers would start where nothing is ever accepted.
    #[test]
    fn good_claims_are_accepted() {
        let (_, good) = kept("claims")
            .into_iter()
            .find(|(name, _)| name.ends_with("good"))
            .unwrap();
        let token = BENCH.keys.access().seal("at+jwt", &good);
        let header = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        BENCH.judge.identify(Some(&header)).unwrap();
    }

    #[test]
    fn every_property_has_its_fuzz_target() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for (target, _) in ALL {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
            let text = fs::read_to_string(fuzz.join(format!("targets/{target}.rs"))).unwrap();
            assert!(text.contains(&format!("properties::{target}")), "{target}");
        }
    }

    /// Cuts a kept input and puts something else there: nearer to what parsers know than noise is.
    fn spliced(target: &str, which: usize, cut: usize, length: usize, put: &[u8]) -> Vec<u8> {
        let inputs = kept(target);
        let (_, mut data) = inputs[which % inputs.len()].clone();
        let start = cut % (data.len() + 1);
        let end = (start + length).min(data.len());
        data.splice(start..end, put.iter().copied());
        data
    }

    proptest! {
        // SECURITY 60
        #[test]
        fn no_bytes_break_a_property(data in any::<Vec<u8>>()) {
            for (_, property) in ALL {
                property(&data);
            }
        }

        // SECURITY 60
        #[test]
        fn no_near_miss_breaks_a_property(
            which in any::<usize>(),
            cut in any::<usize>(),
            length in 0..20_usize,
            put in "[ -~]{0,8}|[\\x00-\\xff]{0,8}",
        ) {
            for (target, property) in ALL {
                property(&spliced(target, which, cut, length, put.as_bytes()));
            }
        }
    }
}
