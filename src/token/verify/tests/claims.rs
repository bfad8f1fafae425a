//! What a token says: every claim that counts, typed, once, and for us.

use super::*;

// SECURITY 21
#[test]
fn every_claim_that_counts_is_required_and_typed() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let wrong = [
        json!(null),
        json!(true),
        json!("x y\n"),
        json!(-1),
        json!(1.5),
        json!({}),
        json!([1]),
    ];
    for claim in [
        "exp",
        "iat",
        "iss",
        "aud",
        "sub",
        "sid",
        "jti",
        "client_id",
        "auth_time",
        "user_version",
    ] {
        let mut without = forge.claims.clone();
        without.as_object_mut().unwrap().remove(claim);
        let token = forge.sign(&forge.header.to_string(), &without.to_string());
        assert_eq!(
            judge(&forge.keys, &token).err(),
            Some(Invalid::BadClaims),
            "no {claim}"
        );

        for value in &wrong {
            let mut claims = forge.claims.clone();
            claims[claim] = value.clone();
            let token = forge.sign(&forge.header.to_string(), &claims.to_string());
            let result = judge(&forge.keys, &token);
            // The one text that is a text: an id of the token's, which nobody reads.
            let harmless = claim == "jti" && value.is_string();
            assert_eq!(result.is_ok(), harmless, "{claim}: {value}");
        }
    }
    for (claim, value) in [
        ("sub", json!("alice")),
        ("sub", json!("client:a b")),
        ("sub", json!("client:sync")),
        ("sid", json!("2")),
        ("scope", json!("a  b")),
        ("scope", json!(["a"])),
        ("roles", json!("admin")),
        ("roles", json!(["a,b"])),
        ("roles", json!(["a\r\nX-Evil: 1"])),
        ("preferred_username", json!("a\r\nb")),
        ("preferred_username", json!("")),
        ("preferred_username", json!("ä")),
        ("email", json!("nobody")),
        ("name", json!("a\u{202e}b")),
        ("amr", json!(["p w"])),
        ("nbf", json!("soon")),
        ("exp", json!("1800000900")),
        ("iss", json!([ISSUER])),
    ] {
        let mut claims = forge.claims.clone();
        claims[claim] = value.clone();
        let token = forge.sign(&forge.header.to_string(), &claims.to_string());
        let refused = judge(&forge.keys, &token).err();
        assert_eq!(refused, Some(Invalid::BadClaims), "{claim}: {value}");
    }
}

// SECURITY 21
#[test]
fn it_must_be_from_us_and_for_us() {
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    for audience in [json!([ISSUER]), json!(["https://other.example", ISSUER])] {
        forge.claims["aud"] = audience;
        forge.admitted();
    }
    for audience in [
        json!(""),
        json!("gateway.example"),
        json!(["/", "https://OTHER.example"]),
        json!([]),
    ] {
        forge.claims["aud"] = audience;
        forge.refused(Invalid::WrongAudience);
    }
    forge.claims["aud"] = json!(ISSUER);
    for issuer in [
        "",
        "https://evil.example",
        "https://gateway.example/",
        "HTTPS://gateway.example",
    ] {
        forge.claims["iss"] = json!(issuer);
        forge.refused(Invalid::WrongAudience);
    }
}

// SECURITY 21
#[test]
fn a_token_for_a_resource_says_so_and_is_not_for_us_and_one_for_nobody_is_refused() {
    let resource = |text: &str| Resource::parse(text).unwrap();
    let (one, other) = (resource("https://one.example"), resource("urn:other"));
    let verifier = Verifier::new(ISSUER);
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    let mut check = |audience: Value, expected: Result<Audience, Invalid>| {
        forge.claims["aud"] = audience;
        let judged = verifier.verify(&forge.keys, &forge.token(), at(NOW));
        assert_eq!(judged.map(|claims| claims.audience), expected);
    };
    let of = |resources: &[&Resource]| {
        let resources = resources.iter().copied().cloned();
        Ok(Audience::Resources(resources.collect()))
    };
    check(json!(ISSUER), Ok(Audience::Gateway));
    check(json!("https://one.example"), of(&[&one]));
    check(
        json!(["urn:other", "no uri", "https://one.example"]),
        of(&[&other, &one]),
    );
    check(json!(["urn:other", ISSUER]), Ok(Audience::Gateway));
    // Compared as strings: what is not our very own name is a name of somebody else's.
    let slash = resource("https://gateway.example/");
    check(json!("https://gateway.example/"), of(&[&slash]));
    assert!(!Audience::from(Some(slash)).admits(None));
    for nobody in [
        json!("https://ONE.example"),
        json!("https://one.example urn:other"),
        json!([]),
    ] {
        check(nobody, Err(Invalid::WrongAudience));
    }
    // A session's own: `explain` and `introspect` say the same.
    let session = Session {
        audience: Some(one.clone()),
        ..session()
    };
    let tokens = AccessTokens::new(ISSUER, Duration::from_secs(900));
    let keys = KeySet::for_test(KeyAlgorithm::Es256);
    let token = tokens.issue(&keys, &user(), &session, at(NOW));
    let claims = verifier.verify(&keys, &token, at(NOW)).unwrap();
    assert_eq!(claims.audience, Audience::Resources(vec![one]));
}

// SECURITY 21
#[test]
fn times_are_checked_with_thirty_seconds_of_leeway() {
    let with = |claim: &str, value: u64| {
        let mut forge = Forge::new(KeyAlgorithm::Es256);
        forge.claims[claim] = json!(value);
        judge(&forge.keys, &forge.token()).err()
    };
    assert_eq!(with("exp", NOW - 29), None);
    assert_eq!(with("exp", NOW - 30), Some(Invalid::Expired));
    assert_eq!(with("exp", 0), Some(Invalid::Expired));
    assert_eq!(with("exp", u64::MAX), None);
    assert_eq!(with("nbf", NOW + 30), None);
    assert_eq!(with("nbf", NOW + 31), Some(Invalid::NotYetValid));
    assert_eq!(with("nbf", u64::MAX), Some(Invalid::NotYetValid));
    assert_eq!(with("iat", NOW + 30), None);
    assert_eq!(with("iat", NOW + 31), Some(Invalid::NotYetValid));
}

// SECURITY 21
#[test]
fn repeated_names_are_refused() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let (header, claims) = (forge.header.to_string(), forge.claims.to_string());
    for extra in [
        r#""sub":"x","#,
        r#""exp":1,"#,
        r#""unknown":1,"unknown":1,"#,
    ] {
        let twice = claims.replacen('{', &format!("{{{extra}"), 1);
        let refused = judge(&forge.keys, &forge.sign(&header, &twice)).err();
        assert_eq!(refused, Some(Invalid::BadClaims), "{extra}");
    }
    for extra in [
        r#""alg":"none","#,
        r#""kid":"x","#,
        r#""x":1,"x":1,"#,
        r#""\u0061lg":"none","#,
    ] {
        let twice = header.replacen('{', &format!("{{{extra}"), 1);
        let refused = judge(&forge.keys, &forge.sign(&twice, &claims)).err();
        assert_eq!(refused, Some(Invalid::Malformed), "{extra}");
    }
}
