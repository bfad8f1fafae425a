//! Opaque tokens that are good once: authorization codes, tickets, codes of devices; and what devices show.
//!
//! A prefix that says what it is, and base64url of a secret and its MAC, so that a forged one dies in memory.
//! One must never be logged: it has no `Debug`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::TokenHash;
use crate::domain::UserCode;
use crate::vault::Vault;
use crate::vault::random;

/// What a token of this form is for. Each has a key of its own: one kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An authorization code (RFC 6749 §4.1.2).
    AuthorizationCode,
    /// What carries a session from the host where somebody signed in to another host, in an address.
    Ticket,
    /// What a device asks with until it is let in (RFC 8628 §3.2).
    DeviceCode,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "ptc_ac_",
            Self::Ticket => "ptc_st_",
            Self::DeviceCode => "ptc_dc_",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization code",
            Self::Ticket => "sign-in ticket",
            Self::DeviceCode => "device code",
        }
    }
}

/// What the store keeps of a code that a device shows. There are so few of them that from a plain hash each
/// would be found by trying them all.
pub fn user_code_mac(vault: &Vault, code: &UserCode) -> TokenHash {
    let tag = hmac::sign(&vault.mac_key("user code"), code.letters());
    let mut mac = [0; digest::SHA256_OUTPUT_LEN];
    mac.copy_from_slice(tag.as_ref());
    TokenHash::new(mac)
}

/// A token that carries our MAC; no `Debug`, wiped on drop.
pub struct OneUse {
    kind: Kind,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    mac: [u8; MAC_BYTES],
}

impl OneUse {
    /// A fresh one.
    pub fn fresh(vault: &Vault, kind: Kind) -> Self {
        Self::seal(vault, kind, Zeroizing::new(random()))
    }

    /// Reads a presented token; `None` where it is not one of ours.
    pub fn parse(vault: &Vault, kind: Kind, text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let length = URL_SAFE_NO_PAD
            .decode_slice(text.strip_prefix(kind.prefix())?, bytes.as_mut_slice())
            .ok()?;
        let (secret, mac) = bytes.split_first_chunk::<SECRET_BYTES>()?;
        let token = Self::seal(vault, kind, Zeroizing::new(*secret));
        let is_genuine = verify_slices_are_equal(mac, &token.mac).is_ok();
        (length == TOKEN_BYTES && is_genuine).then_some(token)
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.secret.as_slice())
    }

    /// The text to be shown, once.
    pub fn reveal(&self) -> String {
        let bytes = Zeroizing::new([self.secret.as_slice(), &self.mac].concat());
        format!("{}{}", self.kind.prefix(), URL_SAFE_NO_PAD.encode(&bytes))
    }

    fn seal(vault: &Vault, kind: Kind, secret: Zeroizing<[u8; SECRET_BYTES]>) -> Self {
        let tag = hmac::sign(&vault.mac_key(kind.label()), secret.as_slice());
        let mut mac = [0; MAC_BYTES];
        for (kept, byte) in mac.iter_mut().zip(tag.as_ref()) {
            *kept = *byte;
        }
        Self { kind, secret, mac }
    }
}

const SECRET_BYTES: usize = 32;
/// Of 32: nobody can try 2¹²⁸ tokens.
const MAC_BYTES: usize = 16;
const TOKEN_BYTES: usize = SECRET_BYTES + MAC_BYTES;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODE: Kind = Kind::AuthorizationCode;

    // SECURITY 37
    #[test]
    fn a_code_reads_back_and_no_other_text_does() {
        let vault = Vault::for_test();
        let code = OneUse::fresh(&vault, CODE);
        let text = code.reveal();
        assert_eq!(text.len(), 71);
        let read = OneUse::parse(&vault, CODE, &text).unwrap();
        assert_eq!(read.hash(), code.hash());
        assert_eq!(read.reveal(), text);
        assert_ne!(OneUse::fresh(&vault, CODE).hash(), code.hash());
        assert!(OneUse::parse(&Vault::for_test(), CODE, &text).is_none());
        for cut in 0..text.len() {
            assert!(OneUse::parse(&vault, CODE, &text[..cut]).is_none());
        }
        for index in 0..text.len() {
            for replacement in ["A", "B", "-", "=", " "] {
                let mut other = text.clone();
                other.replace_range(index..=index, replacement);
                let same = other == text;
                let read = OneUse::parse(&vault, CODE, &other);
                assert_eq!(read.is_some(), same, "{other}");
            }
        }
        for wrong in [format!("{text}="), format!("{text}A"), format!(" {text}")] {
            assert!(OneUse::parse(&vault, CODE, &wrong).is_none(), "{wrong}");
        }
    }

    // SECURITY 22
    #[test]
    fn no_kind_passes_for_another() {
        let vault = Vault::for_test();
        let kinds = [CODE, Kind::Ticket, Kind::DeviceCode];
        for (kind, other) in kinds
            .into_iter()
            .flat_map(|kind| kinds.map(|other| (kind, other)))
        {
            let text = OneUse::fresh(&vault, kind).reveal();
            assert!(OneUse::parse(&vault, kind, &text).is_some());
            if kind != other {
                let renamed = text.replace(kind.prefix(), other.prefix());
                assert!(OneUse::parse(&vault, other, &text).is_none());
                assert!(OneUse::parse(&vault, other, &renamed).is_none());
            }
        }
    }

    #[test]
    fn what_a_device_shows_is_kept_as_only_we_can_find_it() {
        let vault = Vault::for_test();
        let [one, other] = [1, 2].map(UserCode::of);
        let again = UserCode::parse(&one.to_string().to_lowercase()).unwrap();
        let mac = |code| user_code_mac(&vault, &code);
        assert_eq!(mac(one), mac(again));
        assert_ne!(mac(one), mac(other));
        assert_ne!(mac(one), user_code_mac(&Vault::for_test(), &one));
    }

    proptest! {
        #[test]
        fn a_stranger_makes_none(text in "(ptc_ac_)?[A-Za-z0-9_-]{0,100}|.*") {
            prop_assert!(OneUse::parse(&Vault::for_test(), CODE, &text).is_none());
        }
    }
}
