//! Who is held responsible for a request: one answer for limits, logs and headers.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::rc::Rc;

use http::HeaderMap;
use http::HeaderValue;
use ipnet::IpNet;

use crate::gate::certificate::ClientCertificate;

/// The connection a request came in on.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end of the socket; or whom that speaks for, where a balancer said it in a PROXY header.
    pub peer: Address,
    /// Whether that end spoke TLS: with the gateway, or with such a balancer.
    pub tls: bool,
    /// The certificate that the client proved to have.
    pub certificate: Option<Rc<ClientCertificate>>,
}

/// An address, and how it is written: once for each connection, and not for each of its requests.
#[derive(Clone, Debug)]
pub struct Address {
    ip: IpAddr,
    text: HeaderValue,
    /// Whether it is whoever asks, and not merely the last of whom something is known.
    is_known: bool,
}

impl Address {
    /// An IPv4-mapped address is an IPv4 address.
    pub fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let text = HeaderValue::try_from(ip.to_string());
        Self {
            ip,
            text: text.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            is_known: true,
        }
    }

    /// That of a balancer which passes on what somebody says and not who that is. Nobody is believed by
    /// it: a header that names somebody else may be the stranger's as well as the balancer's.
    pub fn of_mute_balancer(ip: IpAddr) -> Self {
        Self {
            is_known: false,
            ..Self::new(ip)
        }
    }

    /// Whether it lies in one of these networks, so that whoever is there may have what they may. That
    /// cannot be said of whom nobody knows.
    pub fn is_in(&self, networks: &[IpNet]) -> bool {
        self.is_known && contains(networks, self.ip)
    }

    /// The address itself.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        // Faster than `to_str`; addresses are ASCII.
        std::str::from_utf8(self.text.as_bytes()).unwrap_or_default()
    }
}

/// The address held responsible, and whether what the peer says about it is believed.
#[derive(Clone, Debug)]
pub struct Source {
    /// The address.
    pub address: Address,
    /// Whether the peer is one of `trusted_proxies`.
    pub through_proxy: bool,
    /// The trusted hops between the source and us, nearest last.
    hops: Vec<IpAddr>,
}

impl Source {
    /// Reads `X-Forwarded-For` from right to left as long as the hop that added an entry is
    /// trusted (SECURITY 15). From anybody else the header is not read at all.
    pub fn resolve(peer: &Address, trusted: &[IpNet], headers: &HeaderMap) -> Self {
        if !peer.is_in(trusted) {
            return Self {
                address: peer.clone(),
                through_proxy: false,
                hops: Vec::new(),
            };
        }
        let mut address = peer.ip;
        let mut is_known = true;
        let mut hops = Vec::new();
        let entries = headers
            .get_all("x-forwarded-for")
            .iter()
            .flat_map(|line| line.to_str().unwrap_or("?").split(','))
            .collect::<Vec<_>>();
        for entry in entries.into_iter().rev() {
            // An entry nobody can read ends the chain: what is left of it proves nothing. The hop before it
            // spoke for somebody, and is held responsible, but is not who asks.
            let Some(earlier) = parse_entry(entry) else {
                is_known = false;
                break;
            };
            hops.push(address);
            address = earlier;
            if !contains(trusted, address) {
                break;
            }
        }
        hops.reverse();
        Self {
            address: Address {
                is_known,
                ..Address::new(address)
            },
            through_proxy: true,
            hops,
        }
    }

    /// `X-Forwarded-For` for the app: the source first, then the trusted hops. What a stranger
    /// wrote to the left of his own address is not passed on.
    pub fn forwarded_for(&self) -> HeaderValue {
        let alone = &self.address.text;
        if self.hops.is_empty() {
            return alone.clone();
        }
        let mut text = self.address.as_str().to_owned();
        for hop in &self.hops {
            text.push_str(", ");
            text.push_str(&hop.to_string());
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| alone.clone())
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An address, with the port or brackets that some proxies write.
pub(super) fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let address = entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| {
            entry
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<IpAddr>()
        })
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    fn resolve(peer: &str, lines: &[&str]) -> Source {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        Source::resolve(&Address::new(peer.parse().unwrap()), &trusted, &headers)
    }

    #[track_caller]
    fn check(peer: &str, lines: &[&str], address: &str, chain: &str) {
        let source = resolve(peer, lines);
        assert_eq!(source.address.ip(), address.parse::<IpAddr>().unwrap());
        assert_eq!(source.address.as_str(), address);
        assert_eq!(source.forwarded_for(), chain);
    }

    // SECURITY 15
    #[test]
    fn strangers_are_not_believed() {
        check("203.0.113.9", &["1.1.1.1"], "203.0.113.9", "203.0.113.9");
        check(
            "::ffff:203.0.113.9",
            &["1.1.1.1"],
            "203.0.113.9",
            "203.0.113.9",
        );
    }

    // SECURITY 15
    #[test]
    fn trusted_hops_are_skipped_from_right_to_left() {
        check("10.0.0.1", &[], "10.0.0.1", "10.0.0.1");
        check(
            "10.0.0.1",
            &["198.51.100.7"],
            "198.51.100.7",
            "198.51.100.7, 10.0.0.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6, 198.51.100.7", "10.0.0.2"],
            "198.51.100.7",
            "198.51.100.7, 10.0.0.2, 10.0.0.1",
        );
        check(
            "10.0.0.1",
            &["[2001:db8::1]:443"],
            "2001:db8::1",
            "2001:db8::1, 10.0.0.1",
        );
        check(
            "fd00::1",
            &["198.51.100.7:99"],
            "198.51.100.7",
            "198.51.100.7, fd00::1",
        );
    }

    #[test]
    fn garbage_ends_the_chain() {
        check(
            "10.0.0.1",
            &["198.51.100.7, unknown"],
            "10.0.0.1",
            "10.0.0.1",
        );
        check(
            "10.0.0.1",
            &["198.51.100.7, , 10.0.0.2"],
            "10.0.0.2",
            "10.0.0.2, 10.0.0.1",
        );
    }

    // SECURITY 15
    #[test]
    fn whom_nobody_knows_is_in_no_network() {
        let inside = ["10.0.0.0/8".parse().unwrap()];
        let is_inside = |lines| resolve("10.0.0.1", lines).address.is_in(&inside);
        assert!(is_inside(&[]), "the proxy itself");
        assert!(is_inside(&["10.0.0.2"]));
        assert!(!is_inside(&["198.51.100.7"]));
        assert!(!is_inside(&["unknown"]));
        assert!(!is_inside(&["198.51.100.7, unknown, 10.0.0.2"]));
        let mute = Address::of_mute_balancer("10.0.0.1".parse().unwrap());
        assert!(!mute.is_in(&inside));
    }

    proptest! {
        #[test]
        fn no_header_panics(line in any::<Vec<u8>>()) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append("x-forwarded-for", value);
            }
            let trusted = ["0.0.0.0/0".parse().unwrap()];
            let peer = Address::new("10.0.0.1".parse().unwrap());
            let source = Source::resolve(&peer, &trusted, &headers);
            assert!(source.forwarded_for().to_str().unwrap().contains(source.address.as_str()));
        }
    }
}
