//! The PROXY protocol, versions 1 and 2: what a balancer says of whom it speaks for.
//!
//! Only peers on loopback or in `trusted_proxies` are listened to. A header is read to its last byte and
//! not a byte further: what is behind it is TLS or HTTP. This room must never believe a stranger, and
//! never wait for longer than a handshake may take.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ipnet::IpNet;
use proxy_header::Error;
use proxy_header::ParseConfig;
use proxy_header::ProxyHeader;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest line of version 1, with its end ("haproxy.org/download/2.8/doc/proxy-protocol.txt" 2.1).
const LINE_BYTES_MAX: usize = 107;

/// The longest header of version 2, whatever it claims: what nginx takes.
const HEADER_BYTES_MAX: usize = 4096;

/// Version 2 up to and with its length.
const PREFIX_BYTES: usize = 16;

/// Whom we listen to when they speak for others, or without TLS.
#[derive(Debug)]
pub struct Balancers {
    trusted: Vec<IpNet>,
    warned_of_stranger: AtomicBool,
    warned_of_header: AtomicBool,
}

impl Balancers {
    /// These networks, and loopback.
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self {
            trusted,
            warned_of_stranger: AtomicBool::new(false),
            warned_of_header: AtomicBool::new(false),
        }
    }

    /// Whether a peer is one of them.
    pub(super) fn include(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Says that somebody else was turned away: once, because strangers come as often as they like.
    pub(super) fn warn_of_stranger(&self, peer: IpAddr) {
        if !self.warned_of_stranger.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client = %peer,
                "a listener for balancers (tls = false, or proxy_protocol) closes what comes from anybody \
                 but loopback and trusted_proxies; said once"
            );
        }
    }

    /// Says that a balancer does not say whom it speaks for: once, because its health checks come often.
    pub(super) fn warn_of_header(&self, peer: IpAddr, error: &io::Error) {
        if !self.warned_of_header.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client = %peer,
                %error,
                "a connection to a listener with proxy_protocol brought no good PROXY header and was \
                 closed: let the balancer send one, or set proxy_protocol = false; said once"
            );
        }
    }
}

/// Whom a balancer speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The other end of the balancer's own connection; `None` where it speaks for itself, or does not say.
    pub(crate) address: Option<IpAddr>,
    /// Whether that end spoke TLS with the balancer, as version 2 can say.
    pub(crate) tls: bool,
}

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A header of so many bytes.
    Whole(Proxied, usize),
    /// The beginning of one.
    Partial,
    /// None.
    Bad,
}

/// Reads a header from its first byte.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let is_line = bytes.first() == Some(&b'P');
    // The library does not look at the blank behind the name.
    if is_line && !b"PROXY ".starts_with(bytes) && !bytes.starts_with(b"PROXY ") {
        return Parsed::Bad;
    }
    if let (false, Some([.., high, low])) = (is_line, bytes.get(..PREFIX_BYTES)) {
        let claimed = usize::from(u16::from_be_bytes([*high, *low]));
        if PREFIX_BYTES + claimed > HEADER_BYTES_MAX {
            return Parsed::Bad;
        }
    }
    match ProxyHeader::parse(bytes, ParseConfig::default()) {
        Ok((_, length)) if is_line && length > LINE_BYTES_MAX => Parsed::Bad,
        Ok((header, length)) => {
            let address = header.proxied_address().map(|named| named.source.ip());
            let tls = address.is_some() && header.ssl().is_some_and(|ssl| ssl.client_ssl());
            Parsed::Whole(Proxied { address, tls }, length)
        }
        Err(Error::BufferTooShort) => Parsed::Partial,
        Err(_) => Parsed::Bad,
    }
}

/// Takes the header off a connection, and nothing of what is behind it: as long as a header is not whole,
/// all that there is belongs to it.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Proxied> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        let (_, free) = bytes.split_at_mut(taken);
        let seen = taken + stream.peek(free).await?;
        if seen == taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = parse(bytes.get(..seen).unwrap_or_default());
        let end = match parsed {
            Parsed::Whole(_, length) => length,
            Parsed::Partial if seen < HEADER_BYTES_MAX => seen,
            Parsed::Partial | Parsed::Bad => {
                return Err(io::Error::other("this is no PROXY header"));
            }
        };
        stream
            .read_exact(bytes.get_mut(taken..end).unwrap_or_default())
            .await?;
        taken = end;
        if let Parsed::Whole(proxied, _) = parsed {
            return Ok(proxied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 15
    #[test]
    fn only_loopback_and_trusted_proxies_are_listened_to() {
        let balancers = Balancers::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let includes = |peer: &str| balancers.include(peer.parse().unwrap());
        for peer in ["127.0.0.1", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!(includes(peer), "{peer}");
        }
        for peer in ["203.0.113.9", "11.0.0.1", "::ffff:11.0.0.1", "2001:db8::1"] {
            assert!(!includes(peer), "{peer}");
        }
    }
}
