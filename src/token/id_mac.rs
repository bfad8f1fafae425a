//! The id of a session with a MAC over it, as base64url: what cookies and personal tokens are made of,
//! and the forms that each make one.
//!
//! The MAC lets a forged one die in memory. It has to be made and read with the same context, and keys of
//! different jobs make different ones, so that none passes for another (SECURITY 22).

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::SessionId;
use crate::vault::Vault;

/// Writes and reads them, for one job.
pub struct IdMac {
    key: hmac::Key,
}

impl IdMac {
    /// With a key of the job's own from the vault.
    pub fn new(vault: &Vault, job: &'static str) -> Self {
        Self {
            key: vault.mac_key(job),
        }
    }

    /// 43 characters that name this session in this context.
    pub fn write(&self, session: SessionId, context: &str) -> String {
        let id = *session.uuid().as_bytes();
        URL_SAFE_NO_PAD.encode([id, self.mac(id, context)].concat())
    }

    /// Reads what was presented; `None` where it was not made by this key in this context.
    pub fn read(&self, presented: &[u8], context: &str) -> Option<SessionId> {
        let mut bytes = [0; BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(presented, &mut bytes).ok()?;
        let (id, mac) = bytes.split_first_chunk::<ID_BYTES>()?;
        let is_genuine = verify_slices_are_equal(mac, &self.mac(*id, context)).is_ok();
        (length == BYTES && is_genuine).then(|| SessionId::new(Uuid::from_bytes(*id)))
    }

    fn mac(&self, id: [u8; ID_BYTES], context: &str) -> [u8; MAC_BYTES] {
        let said = [&id, [0].as_slice(), context.as_bytes()].concat();
        let tag = hmac::sign(&self.key, &said);
        let mut mac = [0; MAC_BYTES];
        for (kept, byte) in mac.iter_mut().zip(tag.as_ref()) {
            *kept = *byte;
        }
        mac
    }
}

impl fmt::Debug for IdMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdMac(..)")
    }
}

const ID_BYTES: usize = 16;
/// Of 32: nobody can try 2¹²⁸ of them.
const MAC_BYTES: usize = 16;
const BYTES: usize = ID_BYTES + MAC_BYTES;
