//! Fingerprints of certificates: by which one is told from all others.

use std::fmt;

use crate::domain::Malformed;

/// SHA-256 of a certificate in DER form, as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes a digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 hexadecimal digits, with a colon between each two of them or without.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "it must be the SHA-256 fingerprint of a certificate, 64 hexadecimal digits, as \
             `openssl x509 -fingerprint -sha256 -noout -in FILE` shows it",
        );
        let has_colons = text.contains(':');
        let stride = if has_colons { 3 } else { 2 };
        let digits = text.as_bytes();
        if digits.len() != 32 * stride - usize::from(has_colons) {
            return Err(WRONG);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks(stride)) {
            let (high, low) = match pair {
                [high, low] | [high, low, b':'] => (*high, *low),
                _ => return Err(WRONG),
            };
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or(WRONG);
            let value = value(high)? << 4 | value(low)?;
            *byte = u8::try_from(value).map_err(|_| WRONG)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    #[test]
    fn only_a_whole_fingerprint_is_one() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(Fingerprint::parse(&plain), Ok(Fingerprint([0xab; 32])));
        assert_eq!(Fingerprint::parse(&colons), Ok(Fingerprint([0xab; 32])));
        for wrong in [
            String::new(),
            plain.replacen('a', "g", 1),
            plain.replacen("ab", "a", 1),
            plain.replacen("ab", "", 1),
            plain.replacen("ab", "+b", 1),
            format!("{plain}ab"),
            format!("{colons}:"),
            colons.replacen(':', "", 1),
            colons.replacen(':', "-", 1),
            format!("SHA256:{plain}"),
        ] {
            assert!(Fingerprint::parse(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(digest in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::new(digest);
            assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Ok(fingerprint));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = Fingerprint::parse(&text);
        }
    }
}
