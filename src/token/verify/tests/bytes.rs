//! A token as bytes: its size, its signature, and what is none.

use super::*;

// SECURITY 11
#[test]
fn large_tokens_are_refused_unread() {
    let mut forge = Forge::new(KeyAlgorithm::Es256);
    let room = Verifier::TOKEN_BYTES_MAX - forge.token().len();
    forge.claims["padding"] = json!("x".repeat(room / 2));
    forge.admitted();
    forge.claims["padding"] = json!("x".repeat(9 * 1024));
    forge.refused(Invalid::Malformed);
}

#[test]
fn a_signature_counts_whole_and_in_its_one_spelling() {
    for algorithm in BOTH {
        let keys = KeySet::for_test(algorithm);
        let good = issued(&keys);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
        let mut last_bits = signature.to_owned();
        // 64 bytes leave four unused bits in the last character.
        let other = if last_bits.pop() == Some('A') {
            'B'
        } else {
            'R'
        };
        last_bits.push(other);

        let mut flipped = bytes.clone();
        flipped[10] ^= 1;
        let mut spellings = vec![
            String::new(),
            "A".to_owned(),
            format!("{signature}="),
            format!("{signature}=="),
            format!("{signature}A"),
            format!("{signature}AAAA"),
            format!("{signature} "),
            format!("{signature}\n"),
            last_bits,
            URL_SAFE_NO_PAD.encode(&flipped),
            URL_SAFE_NO_PAD.encode(&bytes[..63]),
            URL_SAFE_NO_PAD.encode([bytes.as_slice(), &[0]].concat()),
            URL_SAFE_NO_PAD.encode([0; 64]),
        ];
        if standard != signature {
            spellings.push(standard);
        }
        for spelling in spellings {
            let refused = judge(&keys, &format!("{message}.{spelling}"));
            assert!(refused.is_err(), "{spelling:?}");
        }
    }
}

#[test]
fn a_changed_payload_is_not_signed() {
    let forge = Forge::new(KeyAlgorithm::Es256);
    let good = forge.token();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let mut claims = forge.claims.clone();
    claims["roles"] = json!(["root"]);
    let header = URL_SAFE_NO_PAD.encode(forge.header.to_string());
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let refused = judge(&forge.keys, &format!("{header}.{payload}.{signature}"));
    assert_eq!(refused.err(), Some(Invalid::BadSignature));

    // And a bad signature is told before anything that the payload says.
    claims["exp"] = json!(0);
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let refused = judge(&forge.keys, &format!("{header}.{payload}.{signature}"));
    assert_eq!(refused.err(), Some(Invalid::BadSignature));
}

#[test]
fn another_gateways_token_is_refused() {
    let (ours, theirs) = (
        KeySet::for_test(KeyAlgorithm::Es256),
        KeySet::for_test(KeyAlgorithm::Es256),
    );
    assert_eq!(
        judge(&ours, &issued(&theirs)).err(),
        Some(Invalid::UnknownKey)
    );
}

#[test]
fn what_is_no_jwt_is_malformed() {
    let keys = KeySet::for_test(KeyAlgorithm::Es256);
    let good = issued(&keys);
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        "bnVsbA.e30.AA",
        "W10.e30.AA",
        "{}.{}.x",
        "ptc_rt_AAAA",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.x.y"),
        &format!(" {good}"),
        &good[..good.rfind('.').unwrap()],
        &good.replace('.', ". "),
    ] {
        let refused = judge(&keys, text).err();
        let shape = matches!(refused, Some(Invalid::Malformed | Invalid::WrongType));
        assert!(shape, "{text:?}: {refused:?}");
    }
}

proptest! {
    #[test]
    fn strangers_bytes_are_refused(text in "[A-Za-z0-9_.=-]{0,300}|.*") {
        let keys = KeySet::for_test(KeyAlgorithm::EdDsa);
        prop_assert!(judge(&keys, &text).is_err());
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed(index in 0_usize..600, byte in "[A-Za-z0-9_.-]") {
        let keys = KeySet::for_test(KeyAlgorithm::EdDsa);
        let good = issued(&keys);
        let index = index % good.len();
        let mut other = good.clone();
        other.replace_range(index..=index, &byte);
        prop_assert_eq!(judge(&keys, &other).is_ok(), other == good);
    }
}
