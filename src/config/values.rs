//! The small languages of single values: durations, sizes, rates, networks, origins, header names.
//!
//! Each reader takes the whole text or refuses it in words that say what would be right. None of
//! them may panic, whatever the text.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use url::Host;
use url::Url;

use crate::domain::Malformed;

/// `"N per T"`: N at once, then one every T/N; `"N per T burst B"`: B at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// N.
    pub count: NonZeroU32,
    /// T, in whole seconds.
    pub period: Duration,
    /// B, or N where there is no burst.
    pub burst: NonZeroU32,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per ", self.count)?;
        match PERIODS.iter().find(|(_, period)| *period == self.period) {
            Some((word, _)) => f.write_str(word)?,
            None => write!(f, "{}s", self.period.as_secs())?,
        }
        if self.burst != self.count {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

/// A duration such as `"15m"` or `"1h 30m"`.
pub(super) fn duration(text: &str) -> Result<Duration, Malformed> {
    humantime::parse_duration(text).map_err(|_| {
        Malformed("a duration is a number and a unit, such as \"30s\", \"15m\" or \"30d\"")
    })
}

/// A size such as `"10MiB"`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Malformed> {
    const WRONG: Malformed =
        Malformed("a size is a whole number and B, KiB, MiB or GiB, such as \"10MiB\"");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?);
    let (_, factor) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or(WRONG)?;
    let number: u64 = digits.parse().map_err(|_| WRONG)?;
    number.checked_mul(factor).ok_or(WRONG)
}

/// A size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    UNITS
        .into_iter()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// A rate such as `"5 per minute"` or `"60 per 30s burst 10"`; `None` is `"off"`.
pub(crate) fn rate(text: &str) -> Result<Option<Rate>, Malformed> {
    const WRONG: Malformed = Malformed(
        "a rate looks like \"5 per minute\", \"10 per 30s\", \"60 per hour burst 10\" or is \
         \"off\"",
    );
    if text == "off" {
        return Ok(None);
    }
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let (count, period, burst) = match words.as_slice() {
        [count, "per", period] => (count, period, count),
        [count, "per", period, "burst", burst] => (count, period, burst),
        _ => return Err(WRONG),
    };
    let count: NonZeroU32 = count.parse().map_err(|_| WRONG)?;
    let burst: NonZeroU32 = burst.parse().map_err(|_| WRONG)?;
    let period = match PERIODS.iter().find(|(word, _)| word == period) {
        Some((_, period)) => *period,
        None => duration(period).map_err(|_| WRONG)?,
    };
    // The `w` of RateLimit-Policy counts whole seconds.
    if period.subsec_nanos() != 0 || !(Duration::from_secs(1)..=PERIOD_MAX).contains(&period) {
        return Err(Malformed(
            "the time of a rate is in whole seconds, from 1s to 31 days",
        ));
    }
    if u64::from(count.get().max(burst.get())) > period.as_secs() * 1_000_000 {
        return Err(Malformed(
            "a rate is at most one million per second; write \"off\" for no limit",
        ));
    }
    Ok(Some(Rate {
        count,
        period,
        burst,
    }))
}

/// A network such as `"10.0.0.0/8"`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Malformed> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map(|network| network.trunc())
        .map_err(|_| {
            Malformed("a network looks like \"10.0.0.0/8\", \"fd00::/8\" or is one address")
        })
}

/// The origin that the gateway is known by: https, or http on loopback only.
pub(super) fn public_url(text: &str) -> Result<Url, Malformed> {
    let url = origin_url(text)?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || loopback {
        Ok(url)
    } else {
        Err(Malformed(
            "it must start with https://; only on localhost may it be http://",
        ))
    }
}

/// An origin as browsers send it in `Origin` (RFC 6454 §6.2).
pub(super) fn origin(text: &str) -> Result<String, Malformed> {
    Ok(origin_url(text)?.origin().ascii_serialization())
}

fn origin_url(text: &str) -> Result<Url, Malformed> {
    const WRONG: Malformed = Malformed(
        "it must be scheme, host and port alone, such as \"https://app.example.com:8443\"",
    );
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or(WRONG)?;
    // The parser would repair much of this: it drops tabs, reads '\' as '/', and adds a path.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/\\?#@".contains(&byte);
    if !rest.bytes().all(plain) {
        return Err(WRONG);
    }
    Url::parse(text).map_err(|_| WRONG)
}

/// A header name that carries a fact about the caller.
pub(super) fn identity_header(text: &str) -> Result<HeaderName, Malformed> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !text.bytes().all(legal) {
        return Err(Malformed(
            "a header name for identity has only letters, digits and '-'",
        ));
    }
    if is_reserved(&fold(text)) {
        return Err(Malformed(
            "this header has a meaning of its own; choose another name",
        ));
    }
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Malformed("a header name has at least one letter or digit"))
}

/// What an app may take a header name for: case, `_`, `.` and repeats make no difference to
/// CGI-like environments (SECURITY 13).
pub fn fold(name: &str) -> String {
    folded(name).collect()
}

/// Whether an app may take one name for the other, without a copy of either.
pub fn folds_alike(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    let mut before = None;
    let characters = name.chars().map(|character| match character {
        '_' | '.' => '-',
        other => other.to_ascii_lowercase(),
    });
    characters.filter(move |character| {
        let before = before.replace(*character);
        *character != '-' || before != Some('-')
    })
}

/// By which frameworks let a POST be another method.
pub static METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// Whether a folded name belongs to HTTP itself or is set by the gateway about the connection.
pub(super) fn is_reserved(folded: &str) -> bool {
    const FAMILIES: [&str; 4] = ["proxy-", "sec-", "access-control-", "content-"];
    const NAMES: [&str; 33] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cache-control",
        "client-cert",
        "client-cert-chain",
        "connection",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "origin",
        "referer",
        "set-cookie",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    ];
    NAMES.contains(&folded) || FAMILIES.iter().any(|family| folded.starts_with(family))
}

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

const PERIODS: [(&str, Duration); 4] = [
    ("second", Duration::from_secs(1)),
    ("minute", Duration::from_secs(60)),
    ("hour", Duration::from_secs(60 * 60)),
    ("day", Duration::from_secs(24 * 60 * 60)),
];

const PERIOD_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "15", "m", "-1s", "1 fortnight", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("100B"), Ok(100));
        assert_eq!(size("512KiB"), Ok(512 * 1024));
        assert_eq!(size("10 MiB"), Ok(10 * 1024 * 1024));
        assert_eq!(size("1GiB"), Ok(1024 * 1024 * 1024));
        for bad in [
            "",
            "10",
            "MiB",
            "10MB",
            "10mib",
            "-1B",
            "1.5MiB",
            "18014398509481984GiB",
        ] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_read_as_people_say_them() {
        let number = |number| NonZeroU32::new(number).expect("not zero");
        let five = Rate {
            count: number(5),
            period: Duration::from_secs(60),
            burst: number(5),
        };
        assert_eq!(rate("5 per minute"), Ok(Some(five)));
        assert_eq!(rate("5  per 60s"), Ok(Some(five)));
        assert_eq!(
            rate("5 per minute burst 2"),
            Ok(Some(Rate {
                burst: number(2),
                ..five
            }))
        );
        assert_eq!(rate("off"), Ok(None));
        for bad in [
            "",
            "5",
            "5 per",
            "5 per minutes",
            "0 per minute",
            "-1 per minute",
            "5 per minute burst",
            "5 per minute burst 0",
            "5/minute",
            "5 per 0s",
            "5 per 1500ms",
            "5 per 32d",
            "Off",
            "1000001 per second",
            "1 per second burst 1000001",
            "4294967296 per day",
        ] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_are_truncated_and_may_be_one_address() {
        let shown = |text| network(text).map(|network| network.to_string());
        assert_eq!(shown("10.1.2.3/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(shown("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(shown("fd00::1"), Ok("fd00::1/128".to_owned()));
        for bad in ["", "10.0.0.0/33", "10.0.0", "localhost"] {
            assert!(network(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_public_url_is_an_origin_and_only_loopback_goes_without_tls() {
        for good in [
            "https://a.example",
            "https://a.example:8443",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:80",
            "http://app.localhost",
        ] {
            assert!(public_url(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "https://",
            "a.example",
            "ftp://a.example",
            "https://a.example/",
            "https://a.example/x",
            "https://a.example?x",
            "https://a.example#x",
            "https://u@a.example",
            "http://a.example",
            "http://localhost.example",
            "https://a\\b",
            "https://a b",
            "https://a.example:99999",
        ] {
            assert!(public_url(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            origin("https://A.example:443"),
            Ok("https://a.example".to_owned())
        );
    }

    // SECURITY 13
    #[test]
    fn identity_headers_are_plain_and_nobody_elses() {
        for good in [
            "X-Auth-User",
            "Remote-User",
            "X-Forwarded-User",
            "x-webauth-user",
        ] {
            assert!(identity_header(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "X_Auth_User",
            "X.User",
            "X User",
            "X-Ü",
            "Host",
            "cookie",
            "Authorization",
            "Content-Length",
            "Transfer-Encoding",
            "X-Forwarded-For",
            "X-Request-Id",
            "traceparent",
            "Connection",
            "Proxy-Authorization",
            "X--Real-IP",
        ] {
            assert!(identity_header(bad).is_err(), "{bad:?}");
        }
        assert_eq!(fold("X__Auth..User-_.Id"), "x-auth-user-id");
        assert!(folds_alike("X__Auth..User", "x-auth-user"));
        assert!(!folds_alike("X-AuthUser", "x-auth-user"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".*") {
            let _ = (duration(&text), size(&text), rate(&text), network(&text));
            let _ = (public_url(&text), origin(&text), identity_header(&text), fold(&text));
        }

        #[test]
        fn names_fold_alike_or_not(one in "[a-bA-B._-]{0,5}", other in "[a-bA-B._-]{0,5}") {
            prop_assert_eq!(folds_alike(&one, &other), fold(&one) == fold(&other));
        }

        #[test]
        fn near_rates_do_not_panic(text in r"[0-9]{0,21} ?per ?[0-9]{0,21}(s|minute|y|ns)( burst [0-9]{0,21})?") {
            let _ = rate(&text);
        }

        #[test]
        fn sizes_are_shown_as_they_are_read(bytes in any::<u64>()) {
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn rates_are_shown_as_they_are_read(
            count in 1..=1_000_000_u32,
            seconds in 1..=2_678_400_u64,
            burst in 1..=1_000_000_u32,
        ) {
            let text = format!("{count} per {seconds}s burst {burst}");
            let read = rate(&text).ok().flatten().map(|rate| rate.to_string());
            let again = read.as_deref().and_then(|text| rate(text).ok().flatten());
            prop_assert_eq!(again, rate(&text).ok().flatten());
            prop_assert_eq!(read.is_some(), true);
        }

        #[test]
        fn seconds_are_read_exactly(seconds in any::<u32>()) {
            let text = format!("{seconds}s");
            prop_assert_eq!(duration(&text), Ok(Duration::from_secs(u64::from(seconds))));
        }
    }
}
