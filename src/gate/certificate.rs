//! A client's certificate, as far as policies and apps want to know it. Whether it is good was decided
//! in the handshake; this room must never be given one that was not checked there.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::HeaderValue;

use crate::domain::Fingerprint;

/// `Client-Cert` (RFC 9440 §2.2).
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// A certificate that was checked. It belongs to the connection, and so to each request on it, whatever
/// host that is for (RFC 9113 §9.1.1).
#[derive(Debug)]
pub struct ClientCertificate {
    fingerprint: Fingerprint,
    header: Option<HeaderValue>,
}

impl ClientCertificate {
    /// Of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        digest.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        // Base64 between colons (RFC 8941 §3.3.5).
        let header = format!(":{}:", STANDARD.encode(der));
        Self {
            fingerprint: Fingerprint::new(digest),
            header: HeaderValue::try_from(header).ok(),
        }
    }

    /// By which policies know it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What an app is told, where its route asks for it.
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }
}
