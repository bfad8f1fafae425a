//! Refresh tokens: `ptc_rt_` and base64url of session id, secret and MAC.
//!
//! The MAC lets a forged token die in memory, and tells a spent token (whose reuse ends the
//! session) from one that never was ours (which must end nothing). A successor is derived from its
//! predecessor, so that within the grace the very same one can be handed out again without being
//! stored. A token must never be logged: it has no `Debug`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::vault::Vault;
use crate::vault::random;

/// A refresh token that carries our MAC; no `Debug`, wiped on drop.
pub struct RefreshToken {
    session: SessionId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    mac: [u8; MAC_BYTES],
}

impl RefreshToken {
    /// The first one of a session.
    pub fn first(vault: &Vault, session: SessionId) -> Self {
        Self::seal(vault, session, Zeroizing::new(random()))
    }

    /// Reads a presented token; `None` where it is not one of ours.
    pub fn parse(vault: &Vault, text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let length = URL_SAFE_NO_PAD
            .decode_slice(text.strip_prefix(PREFIX)?, bytes.as_mut_slice())
            .ok()?;
        let (body, mac) = bytes.split_last_chunk::<MAC_BYTES>()?;
        let (session, secret) = body.split_first_chunk()?;
        let token = Self::seal(
            vault,
            SessionId::new(Uuid::from_bytes(*session)),
            Zeroizing::new(secret.try_into().ok()?),
        );
        let genuine = verify_slices_are_equal(mac, &token.mac).is_ok();
        (length == TOKEN_BYTES && genuine).then_some(token)
    }

    /// The one that takes its place.
    pub fn successor(&self, vault: &Vault) -> Self {
        let key = vault.mac_key("refresh token successor");
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        secret.copy_from_slice(hmac::sign(&key, self.body().as_slice()).as_ref());
        Self::seal(vault, self.session, secret)
    }

    /// Of which session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.body().as_slice())
    }

    /// The text to be shown, once.
    pub fn reveal(&self) -> String {
        let bytes = Zeroizing::new([self.body().as_slice(), &self.mac].concat());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes))
    }

    fn seal(vault: &Vault, session: SessionId, secret: Zeroizing<[u8; SECRET_BYTES]>) -> Self {
        let mut token = Self {
            session,
            secret,
            mac: [0; MAC_BYTES],
        };
        let tag = hmac::sign(&vault.mac_key("refresh token"), token.body().as_slice());
        for (kept, byte) in token.mac.iter_mut().zip(tag.as_ref()) {
            *kept = *byte;
        }
        token
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.session.uuid().as_bytes(), self.secret.as_slice()].concat())
    }
}

const PREFIX: &str = "ptc_rt_";
const SESSION_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// Of 32: nobody can try 2¹²⁸ tokens.
const MAC_BYTES: usize = 16;
const TOKEN_BYTES: usize = SESSION_BYTES + SECRET_BYTES + MAC_BYTES;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(vault: &Vault) -> RefreshToken {
        RefreshToken::first(vault, SessionId::new(Uuid::from_u128(7)))
    }

    #[test]
    fn a_token_reads_back() {
        let vault = Vault::for_test();
        let token = token(&vault);
        let text = token.reveal();
        assert_eq!(text.len(), 93);
        let read = RefreshToken::parse(&vault, &text).unwrap();
        assert_eq!(read.session(), token.session());
        assert_eq!(read.hash(), token.hash());
        assert_eq!(read.reveal(), text);
    }

    // SECURITY 24
    #[test]
    fn the_successor_is_always_the_same_and_tokens_never_are() {
        let vault = Vault::for_test();
        let first = token(&vault);
        let successor = first.successor(&vault);
        assert_eq!(first.successor(&vault).reveal(), successor.reveal());
        assert_eq!(successor.session(), first.session());
        assert_ne!(successor.hash(), first.hash());
        assert_ne!(successor.successor(&vault).hash(), successor.hash());
        assert_ne!(token(&vault).hash(), first.hash());
        assert!(RefreshToken::parse(&vault, &successor.reveal()).is_some());
    }

    #[test]
    fn forged_and_damaged_tokens_are_not_ours() {
        let vault = Vault::for_test();
        let text = token(&vault).reveal();
        assert!(RefreshToken::parse(&Vault::for_test(), &text).is_none());
        for cut in 0..text.len() {
            assert!(RefreshToken::parse(&vault, &text[..cut]).is_none());
        }
        for index in 0..text.len() {
            for replacement in ["A", "B", "-", "=", " "] {
                let mut other = text.clone();
                other.replace_range(index..=index, replacement);
                let same = other == text;
                assert_eq!(
                    RefreshToken::parse(&vault, &other).is_some(),
                    same,
                    "{other}"
                );
            }
        }
        for wrong in [format!("{text}="), format!("{text}A"), format!(" {text}")] {
            assert!(RefreshToken::parse(&vault, &wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_stranger_makes_none(text in "(ptc_rt_)?[A-Za-z0-9_-]{0,100}|.*") {
            prop_assert!(RefreshToken::parse(&Vault::for_test(), &text).is_none());
        }
    }
}
