//! Three parts in their one spelling, and in them one object each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use crate::harness::forge::Signer;
use crate::tokens::ORDER;
use crate::tokens::Trial;

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
