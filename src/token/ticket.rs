//! Tickets: what carries a session from the host where somebody signed in to another host, in an address.
//!
//! An address is seen by many, so that a ticket is good for one use, half a minute, one host and one browser;
//! all of that is kept by the store. The MAC lets a forged one die in memory. It has no `Debug`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::TokenHash;
use crate::vault::Vault;
use crate::vault::random;

/// A ticket that carries our MAC; wiped on drop.
pub struct Ticket(Zeroizing<[u8; SECRET_BYTES]>);

impl Ticket {
    /// The parameter that holds it.
    pub const NAME: &'static str = "ticket";

    /// A new one.
    pub fn fresh() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// Reads a presented one; `None` where it is not one of ours.
    pub fn parse(vault: &Vault, text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; TICKET_BYTES]);
        let text = text.strip_prefix(PREFIX)?;
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, bytes.as_mut_slice())
            .ok()?;
        let (secret, mac) = bytes.split_first_chunk::<SECRET_BYTES>()?;
        let ticket = Self(Zeroizing::new(*secret));
        let is_genuine = verify_slices_are_equal(mac, &ticket.mac(vault)).is_ok();
        (length == TICKET_BYTES && is_genuine).then_some(ticket)
    }

    /// What the store keeps.
    pub fn hash(&self) -> TokenHash {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.0.as_slice()).as_ref());
        TokenHash::new(hash)
    }

    /// The text to be sent, once.
    pub fn reveal(&self, vault: &Vault) -> String {
        let bytes = Zeroizing::new([self.0.as_slice(), &self.mac(vault)].concat());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes))
    }

    fn mac(&self, vault: &Vault) -> [u8; MAC_BYTES] {
        let tag = hmac::sign(&vault.mac_key("sign-in ticket"), self.0.as_slice());
        let mut mac = [0; MAC_BYTES];
        for (kept, byte) in mac.iter_mut().zip(tag.as_ref()) {
            *kept = *byte;
        }
        mac
    }
}

const PREFIX: &str = "ptc_st_";
const SECRET_BYTES: usize = 32;
/// Of 32: nobody can try 2¹²⁸ tickets.
const MAC_BYTES: usize = 16;
const TICKET_BYTES: usize = SECRET_BYTES + MAC_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_reads_back_and_no_other_does() {
        let vault = Vault::for_test();
        let ticket = Ticket::fresh();
        let text = ticket.reveal(&vault);
        let read = |text: &str| Ticket::parse(&vault, text).map(|ticket| ticket.hash());
        assert_eq!(read(&text), Some(ticket.hash()));
        assert_ne!(Ticket::fresh().hash(), ticket.hash());
        assert!(Ticket::parse(&Vault::for_test(), &text).is_none());
        for cut in 0..text.len() {
            assert_eq!(read(&text[..cut]), None);
        }
        for index in 0..text.len() {
            let mut other = text.clone();
            other.replace_range(index..=index, "A");
            let expected = (other == text).then(|| ticket.hash());
            assert_eq!(read(&other), expected, "{other}");
        }
        for wrong in [format!("{text}="), format!("{text}A"), format!(" {text}")] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
