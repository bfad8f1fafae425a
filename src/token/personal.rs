//! Personal tokens: `ptc_pat_`, then the token's id and a MAC over it.
//!
//! Whoever has one acts for its owner, wherever its scopes lead. The prefix is for those who look for
//! secrets that were left lying about. A token must never be logged; it is shown once, and not stored.

use zeroize::Zeroizing;

use crate::domain::SessionId;
use crate::token::id_mac::IdMac;
use crate::vault::Vault;

/// Writes and reads personal tokens.
#[derive(Debug)]
pub struct PersonalTokens {
    ids: IdMac,
}

impl PersonalTokens {
    /// With a key of their own from the vault.
    pub fn new(vault: &Vault) -> Self {
        Self {
            ids: IdMac::new(vault, "personal token"),
        }
    }

    /// Whether this wants to be a personal token.
    pub fn is_meant(token: &[u8]) -> bool {
        token.starts_with(PREFIX.as_bytes())
    }

    /// Whether it may be one that begins like this, once the blanks before it are gone.
    pub fn may_begin_with(byte: u8) -> bool {
        byte == b'p' || byte.is_ascii_whitespace()
    }

    /// The text to be shown, once.
    pub fn reveal(&self, token: SessionId) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", self.ids.write(token, "")))
    }

    /// Reads a presented token; `None` where it is not one of ours.
    pub fn read(&self, token: &[u8]) -> Option<SessionId> {
        self.ids.read(token.strip_prefix(PREFIX.as_bytes())?, "")
    }
}

const PREFIX: &str = "ptc_pat_";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use crate::token::cookie::SessionCookies;

    use super::*;

    // SECURITY 22
    #[test]
    fn a_token_is_good_as_it_was_shown_and_as_nothing_else() {
        let vault = Vault::for_test();
        let tokens = PersonalTokens::new(&vault);
        let id = SessionId::new(Uuid::from_u128(7));
        let text = tokens.reveal(id);
        assert_eq!(text.len(), 51);
        assert!(PersonalTokens::is_meant(text.as_bytes()));
        assert_eq!(tokens.read(text.as_bytes()), Some(id));
        for index in 0..text.len() {
            assert_eq!(tokens.read(&text.as_bytes()[..index]), None);
            for replacement in ["A", "B", "-", "=", " "] {
                let mut other = text.to_string();
                other.replace_range(index..=index, replacement);
                let expected = (other == *text).then_some(id);
                assert_eq!(tokens.read(other.as_bytes()), expected, "{other}");
            }
        }
        let cookies = SessionCookies::new(&vault);
        let cookie = cookies.write(id, "");
        assert_eq!(tokens.read(format!("{PREFIX}{cookie}").as_bytes()), None);
        let bare = text.strip_prefix(PREFIX).unwrap();
        assert_eq!(cookies.read(bare.as_bytes(), ""), None);
        let others = PersonalTokens::new(&Vault::for_test());
        assert_eq!(others.read(text.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn a_stranger_makes_none(value in any::<Vec<u8>>()) {
            let tokens = PersonalTokens::new(&Vault::for_test());
            let meant = [PREFIX.as_bytes(), &value].concat();
            prop_assert!(tokens.read(&meant).is_none());
        }
    }
}
