//! Whose key it is, and for which algorithm: never what a token says of itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::harness::forge::Signer;
use crate::tokens::Trial;

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
