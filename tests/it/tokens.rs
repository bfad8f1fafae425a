//! Tokens that are not good, also those that the gateway's own key has signed (RFC 8725): refused
//! everywhere, in the same words, whatever was wrong with them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::store::KeyPurpose;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// Alice, whose token is good, and the keys of the gateway that issued it.
struct Trial {
    gateway: Gateway,
    app: Upstream,
    alice: Caller,
    good: Token,
    access: Signer,
    assertion: Signer,
}

/// Where tokens are read: two kinds of route, and an endpoint of our own.
const READ_AT: [&str; 3] = ["/required", "/optional", "/auth/me"];

impl Trial {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let gateway = Gateway::start(&format!(
            r#"
            [routes.required]
            path = "/required"
            upstream = "{0}"
            [routes.optional]
            path = "/optional"
            auth = "optional"
            upstream = "{0}"
            "#,
            app.url()
        ));
        let alice = gateway.signed_in("alice").await;
        let access = Signer::stolen(&gateway, KeyPurpose::Access).await;
        let assertion = Signer::stolen(&gateway, KeyPurpose::Assertion).await;
        let good = Token::read(alice.token());
        assert_eq!(good.header["kid"], access.kid);
        let trial = Self {
            gateway,
            app,
            alice,
            good,
            access,
            assertion,
        };
        // What is forged here is refused for what was changed in it, not because it was forged.
        trial.admitted(&trial.good.signed_by(&trial.access)).await;
        trial
    }

    async fn admitted(&self, token: &str) {
        let caller = self.alice.with_token(token);
        let answer = caller.get("/required").await;
        assert_eq!(answer.status, 200, "{token}: {}", answer.text());
        assert_eq!(self.app.only().header("x-auth-user"), "alice");
        caller.get("/auth/me").await.expect(200);
    }

    /// Everywhere, in the very words of a token that is mere noise.
    async fn refused(&self, what: &str, token: &str) {
        for path in READ_AT {
            let noise = self.alice.with_token("x").get(path).await;
            let refused = self.alice.with_token(token).get(path).await;
            let refused = refused.expect_invalid_token(&format!("{what} at {path}"));
            assert_eq!(words(&refused), words(&noise), "{what} at {path}");
        }
        self.app.assert_untouched();
    }
}

/// What an answer tells: all of it but its time and its id.
fn words(answer: &Answer) -> (Value, Vec<String>) {
    let mut problem = answer.json();
    problem["request_id"].take();
    let headers = answer.headers.iter().map(|(name, value)| {
        let changes = matches!(name.as_str(), "date" | "x-request-id");
        format!("{name}: {:?}", (!changes).then_some(value))
    });
    let mut headers: Vec<_> = headers.collect();
    headers.sort_unstable();
    (problem, headers)
}

// SECURITY 19
#[tokio::test(flavor = "multi_thread")]
async fn the_algorithm_is_the_keys_whatever_a_token_says() {
    let trial = Trial::start().await;
    for algorithm in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!(" none"),
        json!(""),
        json!("es256"),
        json!("ES256K"),
        json!("ES384"),
        json!("ES512"),
        json!("EdDSA"),
        json!("RS256"),
        json!("PS256"),
        json!("HS256"),
        json!("HS512"),
        json!("ECDH-ES"),
        json!("dir"),
        json!(null),
        json!(7),
        json!(["ES256"]),
    ] {
        let changed = trial.good.with_header(&json!({ "alg": algorithm }));
        let what = format!("alg {algorithm}");
        trial.refused(&what, &changed.unsigned()).await;
        trial.refused(&what, &changed.text()).await;
        trial
            .refused(&what, &changed.signed_by(&trial.access))
            .await;
    }
    let mut without = trial.good.clone();
    without.header.as_object_mut().unwrap().remove("alg");
    trial
        .refused("no alg", &without.signed_by(&trial.access))
        .await;
    trial.refused("no alg", &without.unsigned()).await;
}

// SECURITY 19
#[tokio::test(flavor = "multi_thread")]
async fn the_public_key_is_no_shared_secret() {
    let trial = Trial::start().await;
    let keys = trial.alice.get("/.well-known/jwks.json").await.expect(200);
    let published = keys.json()["keys"].as_array().unwrap().clone();
    let ours = published.iter().find(|key| key["kid"] == trial.access.kid);
    let jwk = ours.unwrap();
    let (x, y) = trial.access.point();
    assert_eq!((&jwk["x"], &jwk["y"]), (&json!(x), &json!(y)));
    let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (x, y) = (coordinate(&x), coordinate(&y));
    let uncompressed = [&[4], &*x, &*y].concat();
    let compressed = [&[2 + (y[31] & 1)], &*x].concat();
    let der = spki(&uncompressed);
    let pem = pem(&der);
    for (what, secret) in [
        ("the JWKS", keys.body.to_vec()),
        ("the JWK", jwk.to_string().into_bytes()),
        ("x and y", [&*x, &*y].concat()),
        ("the point", uncompressed),
        ("the compressed point", compressed),
        ("DER", der),
        ("PEM", pem.clone().into_bytes()),
        ("trimmed PEM", pem.trim_end().as_bytes().to_vec()),
        ("PEM on one line", pem.replace('\n', "").into_bytes()),
        ("the kid", trial.access.kid.clone().into_bytes()),
        ("x as text", jwk["x"].as_str().unwrap().as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ] {
        for algorithm in ["HS256", "ES256", "none"] {
            let changed = trial.good.with_header(&json!({ "alg": algorithm }));
            trial.refused(what, &changed.hmac(&secret)).await;
        }
    }
}

// SECURITY 20
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_ours_by_its_exact_name() {
    let trial = Trial::start().await;
    let kid = &trial.access.kid;
    for wrong in [
        json!("another"),
        json!(""),
        json!("."),
        json!("../../../../dev/null"),
        json!("/proc/self/environ"),
        json!("' OR 1=1 --"),
        json!("x' UNION SELECT 'secret"),
        json!("$(reboot)"),
        json!("https://evil.example/jwks.json"),
        json!(format!("{}/jwks", trial.app.url())),
        json!(kid.to_lowercase()),
        json!(format!("{kid} ")),
        json!(format!("{kid}\0")),
        json!(format!("{kid}=")),
        json!(&kid[1..]),
        json!("x".repeat(4_000)),
        json!(&trial.assertion.kid),
        json!(null),
        json!(0),
        json!([kid]),
        json!({ "kid": kid }),
    ] {
        let changed = trial.good.with_header(&json!({ "kid": wrong }));
        let token = changed.signed_by(&trial.access);
        trial.refused(&format!("kid {wrong}"), &token).await;
    }
    let mut without = trial.good.clone();
    without.header.as_object_mut().unwrap().remove("kid");
    trial
        .refused("no kid", &without.signed_by(&trial.access))
        .await;
    let of_assertions = trial
        .good
        .with_header(&json!({ "kid": trial.assertion.kid }));
    let token = of_assertions.signed_by(&trial.assertion);
    trial.refused("the key of assertions", &token).await;

    // A gateway of the same name has keys of its own.
    let other = Trial::start().await;
    assert_eq!(other.good.payload["iss"], trial.good.payload["iss"]);
    trial
        .refused("another gateway's", other.alice.token())
        .await;
}

// SECURITY 20
#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_bring_its_own_key() {
    let trial = Trial::start().await;
    let stranger = Signer::stranger();
    let (x, y) = stranger.point();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "stranger" });
    let secret = URL_SAFE_NO_PAD.encode("secret");
    for changes in [
        json!({ "jwk": jwk }),
        json!({ "jwk": jwk, "kid": "stranger" }),
        json!({ "jwk": { "kty": "oct", "k": secret }, "alg": "HS256" }),
        json!({ "jku": format!("{}/jwks.json", trial.app.url()) }),
        json!({ "jku": format!("{}/jwks.json", trial.app.url()), "kid": "stranger" }),
        json!({ "jku": "https://localhost/.well-known/jwks.json" }),
        json!({ "jku": "file:///etc/passwd" }),
        json!({ "x5u": format!("{}/cert.pem", trial.app.url()) }),
        json!({ "x5c": ["MIIBszCCAVmgAwIBAgIU"] }),
        json!({ "x5t": "x", "x5t#S256": "x" }),
        json!({ "jwk": jwk, "jku": trial.app.url(), "x5u": trial.app.url() }),
    ] {
        let changed = trial.good.with_header(&changes);
        for token in [
            changed.signed_by(&stranger),
            changed.hmac(b"secret"),
            changed.text(),
            changed.unsigned(),
        ] {
            trial.refused(&changes.to_string(), &token).await;
        }
    }
    // Not even asked for a key.
    assert_eq!(trial.app.connections(), 1, "only alice's own request came");
}

// SECURITY 20
#[tokio::test(flavor = "multi_thread")]
async fn what_is_critical_is_not_understood() {
    let trial = Trial::start().await;
    for changes in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": ["exp"], "exp": 1 }),
        json!({ "crit": ["alg"] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "crit": ["b64"], "b64": true }),
        json!({ "crit": ["http://example.com/unknown"] }),
        json!({ "crit": [] }),
        json!({ "crit": null }),
        json!({ "crit": "exp" }),
        json!({ "crit": {} }),
    ] {
        let token = trial.good.with_header(&changes).signed_by(&trial.access);
        trial.refused(&changes.to_string(), &token).await;
    }
    // RFC 7797: the payload as it stands, not in base64url.
    let header = trial
        .good
        .with_header(&json!({ "crit": ["b64"], "b64": false }));
    let header = URL_SAFE_NO_PAD.encode(header.header.to_string());
    for payload in ["{}", "e30", ""] {
        let token = trial.access.sign(&format!("{header}.{payload}"));
        trial.refused("an unencoded payload", &token).await;
    }
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_claims_are_not_ours_is_refused_however_well_signed() {
    let trial = Trial::start().await;
    let now = trial.good.payload["iat"].as_u64().unwrap();
    for claim in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "sid",
        "client_id",
        "auth_time",
        "user_version",
    ] {
        let mut without = trial.good.clone();
        without.payload.as_object_mut().unwrap().remove(claim);
        let token = without.signed_by(&trial.access);
        trial.refused(&format!("no {claim}"), &token).await;
        for value in [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.5),
            json!([]),
            json!([1]),
            json!({}),
        ] {
            let changes = json!({ claim: value });
            let token = trial.good.with_claims(&changes).signed_by(&trial.access);
            trial.refused(&changes.to_string(), &token).await;
        }
    }
    for changes in [
        json!({ "exp": 0 }),
        json!({ "exp": now - 31 }),
        json!({ "exp": (now + 900).to_string() }),
        json!({ "exp": (now + 900) as f64 }),
        json!({ "exp": -1 }),
        json!({ "nbf": now + 600 }),
        json!({ "nbf": u64::MAX }),
        json!({ "nbf": "now" }),
        json!({ "nbf": null }),
        json!({ "iat": now + 600 }),
        json!({ "iat": now.to_string() }),
        json!({ "iss": "" }),
        json!({ "iss": "https://localhost/" }),
        json!({ "iss": "https://LOCALHOST" }),
        json!({ "iss": "http://localhost" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": ["https://localhost"] }),
        json!({ "aud": "" }),
        json!({ "aud": "required" }),
        json!({ "aud": "https://localhost/" }),
        json!({ "aud": "https://evil.example" }),
        json!({ "aud": ["https://evil.example"] }),
        json!({ "aud": "https://evil.example https://localhost" }),
        json!({ "sub": "alice" }),
        json!({ "sub": "" }),
        json!({ "sub": "client:" }),
        json!({ "sub": "client:a\r\nX-Auth-Roles: admin" }),
        json!({ "sid": "1" }),
        json!({ "client_id": "a b" }),
        json!({ "scope": ["notes:read"] }),
        json!({ "scope": "notes:read\nadmin" }),
        json!({ "roles": "admin" }),
        json!({ "roles": ["admin,root"] }),
        json!({ "roles": ["admin\r\nX-Evil: 1"] }),
        json!({ "preferred_username": "a\r\nX-Evil: 1" }),
        json!({ "preferred_username": "\u{430}lice" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "\u{3164}" }),
        json!({ "email": "a@example.com\r\nX-Evil: 1" }),
        json!({ "amr": "pwd" }),
        json!({ "amr": ["p\nw"] }),
    ] {
        let token = trial.good.with_claims(&changes).signed_by(&trial.access);
        trial.refused(&changes.to_string(), &token).await;
    }
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_one_object_without_repeats() {
    let trial = Trial::start().await;
    let (header, claims) = (
        trial.good.header.to_string(),
        trial.good.payload.to_string(),
    );
    let good = trial.alice.token();
    for payload in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "1".to_owned(),
        format!("[{claims}]"),
        // A nested token (RFC 7519 §5.2), and what is in one.
        good.to_owned(),
        json!(good).to_string(),
        json!(claims).to_string(),
        format!("{claims}{claims}"),
        format!("{claims}x"),
        format!("\u{feff}{claims}"),
        claims.replacen('{', "{\"sub\":\"x\",", 1),
        claims.replacen('{', "{\"s\\u0075b\":\"x\",", 1),
        claims.replacen('{', "{\"exp\":1,", 1),
        claims.replacen('{', "{\"unknown\":1,\"unknown\":1,", 1),
        claims.replacen('{', "{\"x\":\"\\ud800\",", 1),
        claims.replacen('{', "{\"x\":NaN,", 1),
        claims.replacen('{', "{\"x\":1e999,", 1),
        claims.replacen(
            '{',
            &format!("{{\"x\":{}1{},", "[".repeat(500), "]".repeat(500)),
            1,
        ),
    ] {
        let token = trial.access.sign_raw(&header, &payload);
        trial.refused(&format!("claims {payload}"), &token).await;
    }
    let not_utf8 = claims.replacen('{', "{\"x\":\"?\",", 1).into_bytes();
    let not_utf8: Vec<_> = not_utf8
        .into_iter()
        .map(|byte| if byte == b'?' { 0xff } else { byte })
        .collect();
    let token = trial.access.sign_raw(&header, not_utf8);
    trial.refused("claims that are no UTF-8", &token).await;

    for header in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("[{header}]"),
        format!("{header}{header}"),
        format!("\u{feff}{header}"),
        header.replacen('{', "{\"alg\":\"none\",", 1),
        header.replacen('{', "{\"\\u0061lg\":\"none\",", 1),
        header.replacen('{', "{\"kid\":\"x\",", 1),
        header.replacen('{', "{\"x\":1,\"x\":1,", 1),
    ] {
        let token = trial.access.sign_raw(&header, &claims);
        trial.refused(&format!("header {header}"), &token).await;
    }
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_three_parts_in_their_one_spelling() {
    let trial = Trial::start().await;
    let good = trial.alice.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (r, s) = bytes.split_at(32);
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let encrypted = part(&json!({ "alg": "dir", "enc": "A256GCM", "kid": trial.access.kid }));

    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    // Four bits of the last character stand for nothing.
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = signature.bytes().last().unwrap();
    let place = digits.iter().position(|digit| *digit == last).unwrap();
    let mut idle_bits = signature.to_owned();
    idle_bits.pop();
    idle_bits.push(char::from(digits[place | 1]));

    let mut forged = vec![
        signed.to_owned(),
        header.to_owned(),
        format!("{signed}."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{payload}.{header}.{signature}"),
        format!("{good}{good}"),
        "..".to_owned(),
        "....".to_owned(),
        // Encrypted tokens (RFC 7516) have five parts.
        format!("{encrypted}..{header}.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{header}.{payload}"),
        format!("{encrypted}.{payload}.{signature}"),
        // The other serialisations of RFC 7515 §7.2.
        json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
    ];
    let respelt = [
        signature[..signature.len() - 1].to_owned(),
        signature[..signature.len() - 4].to_owned(),
        signature[1..].to_owned(),
        format!("{signature}A"),
        format!("{signature}AA"),
        format!("{signature}AAAA"),
        format!("{signature}="),
        format!("{signature}=="),
        format!("{signature}%3D%3D"),
        idle_bits,
        STANDARD.encode(&bytes),
        encoded(&flipped),
        encoded(&bytes[..63]),
        encoded(&[&*bytes, &[0]].concat()),
        encoded(&[&[0], &*bytes].concat()),
        encoded(&[&*bytes, &*bytes].concat()),
        encoded(&[s, r].concat()),
        encoded(&[r, &[0; 32]].concat()),
        encoded(&[&[0; 32], s].concat()),
        encoded(&[0; 64]),
        encoded(&[0xff; 64]),
        encoded(&[ORDER, ORDER].concat()),
        encoded(&der_signature(r, s)),
        encoded(signature.as_bytes()),
    ];
    forged.extend(respelt.iter().map(|other| format!("{signed}.{other}")));
    // What is signed in another spelling is signed, and yet no token.
    let claims = trial.good.payload.to_string();
    for signed in [
        format!("{header}=.{payload}"),
        format!("{header}==.{payload}"),
        format!("{header}.{payload}="),
        format!("{header}.{payload}=="),
        format!(
            "{}.{payload}",
            STANDARD.encode(trial.good.header.to_string())
        ),
        // Characters beyond ASCII, so that the alphabets differ.
        format!(
            "{header}.{}",
            STANDARD_NO_PAD.encode(claims.replacen('{', "{\"x\":\"\u{7fe}\u{7ff}???>>>\",", 1))
        ),
        format!("{header}.{claims}"),
    ] {
        forged.push(trial.access.sign(&signed));
    }
    for forged in forged {
        assert_ne!(forged, good);
        trial.refused(&forged, &forged).await;
    }
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_in_a_token_is_not_signed() {
    let trial = Trial::start().await;
    for changes in [
        json!({ "sub": "01980000-0000-7000-8000-000000000001" }),
        json!({ "exp": 99_999_999_999_u64 }),
        json!({ "scope": "everything" }),
        json!({ "roles": ["admin"] }),
        json!({ "user_version": 99 }),
        json!({ "client_id": "notes-sync" }),
        json!({ "sid": "01980000-0000-7000-8000-000000000001" }),
    ] {
        let changed = trial.good.with_claims(&changes);
        trial.refused(&changes.to_string(), &changed.text()).await;
        let stranger = Signer::stranger();
        let token = changed.signed_by(&stranger);
        trial.refused(&changes.to_string(), &token).await;
    }
}

// SECURITY 11 and 21
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_at_most_eight_kilobytes() {
    let trial = Trial::start().await;
    let padded = |length: usize| {
        let padding = json!({ "padding": "x".repeat(length) });
        trial.good.with_claims(&padding).signed_by(&trial.access)
    };
    let shorter = padded(5_000);
    assert!((7 * 1024..8 * 1024).contains(&shorter.len()));
    trial.admitted(&shorter).await;
    let longer = padded(6_000);
    assert!((8 * 1024..9 * 1024).contains(&longer.len()));
    trial.refused("longer than 8 KiB", &longer).await;
    trial.refused("9 KB of noise", &"x".repeat(9 * 1024)).await;
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_however_well_known_it_was() {
    let trial = Trial::start().await;
    assert_eq!(trial.good.payload["iss"], "https://localhost");
    assert_eq!(trial.good.payload["aud"], "https://localhost");
    trial.admitted(trial.alice.token()).await;

    trial.gateway.clock().advance(Duration::from_secs(14 * 60));
    trial.admitted(trial.alice.token()).await;

    // A quarter of an hour, and a leeway of at most a minute.
    trial
        .gateway
        .clock()
        .advance(Duration::from_secs(2 * 60 + 1));
    trial.refused("expired", trial.alice.token()).await;
}

// SECURITY 22
#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_token_does_not_pass_for_another() {
    let trial = Trial::start().await;
    trial.alice.get("/required").await.expect(200);
    let assertion = trial.app.only().header("x-auth-assertion").to_owned();
    let said = Token::read(&assertion);
    let for_us = said.with_claims(&json!({ "aud": "https://localhost" }));
    let as_access = said.with_header(&json!({ "typ": "at+jwt" }));
    let id_token = {
        let claims = json!({
            "iss": "https://localhost", "sub": trial.good.payload["sub"], "aud": "notes-web",
            "exp": trial.good.payload["exp"], "iat": trial.good.payload["iat"], "nonce": "n",
        });
        Token {
            header: json!({ "typ": "JWT", "alg": "ES256", "kid": trial.access.kid }),
            payload: claims,
            signature: String::new(),
        }
    };
    for (what, token) in [
        ("an assertion", assertion.clone()),
        ("one for the gateway", for_us.signed_by(&trial.assertion)),
        (
            "one that calls itself access",
            as_access.signed_by(&trial.assertion),
        ),
        ("one signed as access", as_access.signed_by(&trial.access)),
        ("a refresh token", trial.alice.refresh_token().to_owned()),
        ("an ID token", id_token.signed_by(&trial.access)),
        (
            "an ID token for the gateway",
            id_token
                .with_claims(&json!({ "aud": "https://localhost" }))
                .signed_by(&trial.access),
        ),
    ] {
        trial.refused(what, &token).await;
    }
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("id_token"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("secevent+jwt"),
        json!("portcullis-assertion+jwt"),
        json!("at+jwt "),
        json!("at"),
        json!("x-at+jwt"),
        json!(""),
        json!(null),
        json!(["at+jwt"]),
        json!(1),
    ] {
        let changed = trial.good.with_header(&json!({ "typ": typ }));
        let token = changed.signed_by(&trial.access);
        trial.refused(&format!("typ {typ}"), &token).await;
    }
    let mut without = trial.good.clone();
    without.header.as_object_mut().unwrap().remove("typ");
    let token = without.signed_by(&trial.access);
    trial.refused("no typ", &token).await;

    // And the other way round.
    let refresh = trial.alice.refresh_token();
    let (prefix, rest) = refresh.split_at(7);
    for not_refresh in [
        trial.alice.token(),
        &format!("ptc_rt_{}", trial.alice.token()),
        &assertion,
        &id_token.signed_by(&trial.access),
        "",
        "x",
        prefix,
        rest,
        "ptc_rt_AAAA",
        &format!("ptc_rt_{}", "A".repeat(86)),
        &refresh[..refresh.len() - 1],
        &format!("{refresh}A"),
        &format!("{refresh}="),
        &format!("{refresh} "),
        &format!(" {refresh}"),
        &format!("{refresh}\n"),
        &format!("{refresh}\0"),
        &refresh.to_uppercase(),
        &format!("PTC_RT_{rest}"),
        &format!("Bearer {refresh}"),
        &"x".repeat(9 * 1024),
    ] {
        let refused = trial.alice.try_refresh(not_refresh).await;
        assert_eq!(refused.status, 401, "{not_refresh:?}: {}", refused.text());
        refused.expect_problem(401, "invalid_refresh_token");
    }
    // Nothing of this ended the session.
    trial.admitted(trial.alice.token()).await;
    trial.alice.try_refresh(refresh).await.expect(200);
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_in_its_other_form_is_of_the_same_session() {
    let trial = Trial::start().await;
    // Whoever holds a signature (r, s) of ECDSA can make (r, n - s) of it, which is as good.
    let other_form = |token: &str| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let (r, s) = bytes.split_at(32);
        let other = URL_SAFE_NO_PAD.encode([r, &minus(ORDER, s)].concat());
        format!("{signed}.{other}")
    };
    for (by_command, by_the_other) in [(false, false), (false, true), (true, false), (true, true)] {
        let alice = trial.gateway.signed_in("alice").await;
        let other = alice.with_token(&other_form(alice.token()));
        assert_ne!(alice.token(), other.token());
        trial.admitted(alice.token()).await;
        trial.admitted(other.token()).await;

        let ending = if by_the_other { &other } else { &alice };
        if by_command {
            let arguments = ["token", "revoke", "-"];
            portcullis_reading(trial.gateway.folder(), &arguments, ending.token()).expect(0);
            eventually("the end of a session", async || {
                (alice.get("/auth/me").await.status == 401).then_some(())
            })
            .await;
        } else {
            ending.post("/auth/logout", &json!({})).await.expect(204);
        }
        trial.refused("the one", alice.token()).await;
        trial.refused("the other", other.token()).await;
    }
}

// SECURITY 24 and 25
#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_the_dead_stay_dead() {
    let mut trial = Trial::start().await;
    let mut dead = Vec::new();
    for (name, arguments) in [
        ("disabled", &["user", "disable", "disabled"][..]),
        ("deleted", &["user", "delete", "deleted", "--yes"]),
        ("ended", &["user", "logout", "ended"]),
        (
            "changed",
            &["user", "set", "changed", "--add-role", "editor"],
        ),
    ] {
        let caller = trial.gateway.signed_in(name).await;
        caller.get("/required").await.expect(200);
        trial.app.only();
        portcullis(trial.gateway.folder(), arguments).expect(0);
        dead.push((name, caller.token().to_owned()));
    }
    let renewed = trial.gateway.signed_in("renewed").await;
    let arguments = ["user", "password", "renewed"];
    portcullis_reading(
        trial.gateway.folder(),
        &arguments,
        "quartz-lantern-48-drizzle",
    )
    .expect(0);
    dead.push(("renewed", renewed.token().to_owned()));
    for (name, token) in &dead {
        let caller = trial.alice.with_token(token);
        eventually("the end of a token", async || {
            (caller.get("/auth/me").await.status == 401).then_some(())
        })
        .await;
        trial.refused(name, token).await;
    }

    // Whoever may sign in again does not get an old token back with it.
    portcullis(trial.gateway.folder(), &["user", "enable", "disabled"]).expect(0);
    trial.gateway.restart();
    trial.alice = trial.gateway.anonymous().with_token(trial.alice.token());
    for (name, token) in &dead {
        trial.refused(name, token).await;
    }
    trial.admitted(trial.alice.token()).await;

    // A key takes everything with it that it has signed, and does not come back either.
    let leaked = trial.access.kid.clone();
    portcullis(trial.gateway.folder(), &["key", "revoke", &leaked]).expect(0);
    let caller = trial.alice.clone();
    eventually("the end of a key", async || {
        (caller.get("/auth/me").await.status == 401).then_some(())
    })
    .await;
    trial.refused("of a revoked key", trial.alice.token()).await;
    trial.gateway.restart();
    trial.alice = trial.gateway.anonymous().with_token(trial.alice.token());
    trial.refused("of a revoked key", trial.alice.token()).await;
}

/// The order of P-256 (FIPS 186-5, SP 800-186).
const ORDER: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// `a - b`, both big-endian, `a` the larger one.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut difference = a.to_vec();
    let mut borrow = false;
    for (digit, taken) in difference.iter_mut().zip(b).rev() {
        let (rest, under) = digit.overflowing_sub(*taken);
        let (rest, under_again) = rest.overflowing_sub(u8::from(borrow));
        *digit = rest;
        borrow = under || under_again;
    }
    difference
}

/// `SEQUENCE { INTEGER r, INTEGER s }`, as X.509 has it (RFC 3279 §2.2.3).
fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |digits: &[u8]| {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = &digits[zeros..];
        let sign: &[u8] = if digits[0] & 0x80 != 0 { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + digits.len()).unwrap();
        [&[2, length], sign, digits].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()], &*both].concat()
}

/// A P-256 public key as `SubjectPublicKeyInfo` (RFC 5480).
fn spki(point: &[u8]) -> Vec<u8> {
    let header =
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
          \x03\x01\x07\x03\x42\x00";
    [header, point].concat()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}
