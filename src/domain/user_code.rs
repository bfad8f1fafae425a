//! What a device shows and a person types (RFC 8628 §6.1).

use std::fmt;

/// Eight letters, shown as `WDJB-MJHT`. Consonants only, so that no word comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserCode([u8; LETTERS]);

impl UserCode {
    /// From a number drawn at random: of its 128 bits so few are kept that no code is likelier than
    /// another.
    pub fn of(mut random: u128) -> Self {
        let base = ALPHABET.len() as u128;
        Self([(); LETTERS].map(|()| {
            let index = usize::try_from(random % base).unwrap_or_default();
            random /= base;
            ALPHABET.get(index).copied().unwrap_or_default()
        }))
    }

    /// Reads what was typed: in capitals or not, with a dash, another mark or a blank wherever people put
    /// one. `None` where it could be no code.
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > TYPED_BYTES_MAX {
            return None;
        }
        let counts = |byte: &u8| !byte.is_ascii_punctuation() && !byte.is_ascii_whitespace();
        let letters = typed.bytes().filter(counts);
        let letters: Vec<_> = letters.map(|letter| letter.to_ascii_uppercase()).collect();
        let letters: [u8; LETTERS] = letters.try_into().ok()?;
        let is_code = letters.iter().all(|letter| ALPHABET.contains(letter));
        is_code.then_some(Self(letters))
    }

    /// Its letters, for its MAC.
    pub fn letters(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, letter) in self.0.iter().enumerate() {
            if index == LETTERS / 2 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

/// It lets a device in, and so it is in no log.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(..)")
    }
}

const LETTERS: usize = 8;
/// 20⁸ codes are 34 bits.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const TYPED_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(typed: &str, shown: Option<&str>) {
        let read = UserCode::parse(typed).map(|code| code.to_string());
        assert_eq!(read.as_deref(), shown, "{typed}");
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        for typed in [
            "WDJB-MJHT",
            "wdjbmjht",
            " wdjb mjht ",
            "w.d.j.b mjht",
            "WdJb_MjHt",
        ] {
            check(typed, Some("WDJB-MJHT"));
        }
        for wrong in [
            "",
            "WDJB-MJH",
            "WDJB-MJHTT",
            "WDJA-MJHT",
            "WDJB-MJH7",
            "WDJB-MJHÄ",
            "ẄDJB-MJHT",
            &format!("WDJB-MJHT{}", "-".repeat(60)),
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn every_letter_comes_about() {
        let drawn = |random| UserCode::of(random).to_string();
        assert_eq!(drawn(0), "BBBB-BBBB");
        assert_eq!(drawn(25_600_000_000 - 1), "ZZZZ-ZZZZ");
        assert_eq!(drawn(25_600_000_000), "BBBB-BBBB");
        let letters: BTreeSet<_> = (0..20).map(drawn).collect();
        assert_eq!(letters.len(), 20);
        assert!(!format!("{:?}", UserCode::of(7)).contains("BBBB"));
    }

    proptest! {
        #[test]
        fn what_is_drawn_reads_back(random: u128) {
            let code = UserCode::of(random);
            prop_assert_eq!(UserCode::parse(&code.to_string()), Some(code));
        }

        #[test]
        fn nothing_that_is_typed_surprises(typed in ".{0,80}") {
            if let Some(code) = UserCode::parse(&typed) {
                prop_assert_eq!(code.to_string().len(), 9);
            }
        }
    }
}
