//! What callers say, and what strangers make them say.

use proptest::prelude::any;
use proptest::proptest;

use super::*;

const PATH: &str = "/auth/verify";

const NGINX: [(&str, &str); 3] = [
    (ORIGINAL_URL, "https://app.example.com/notes/1?x=%2f"),
    (ORIGINAL_METHOD, "PUT"),
    (FORWARDED_FOR, "203.0.113.9"),
];

const TRAEFIK: [(&str, &str); 5] = [
    (FORWARDED_METHOD, "PUT"),
    (FORWARDED_PROTO, "https"),
    (FORWARDED_HOST, "app.example.com"),
    (FORWARDED_URI, "/notes/1?x=%2f"),
    (FORWARDED_FOR, "203.0.113.9"),
];

const ENVOY: [(&str, &str); 4] = [
    ("host", "app.example.com"),
    (FORWARDED_PROTO, "https"),
    (REAL_IP, "203.0.113.9"),
    (FORWARDED_FOR, "6.6.6.6,10.0.0.1"),
];

fn callers() -> Callers {
    Callers {
        networks: ["10.0.0.0/8".parse().unwrap()].into(),
        path: PATH.into(),
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn from(address: &str) -> Connection {
    Connection {
        peer: Address::new(address.parse().unwrap()),
        tls: false,
        certificate: None,
    }
}

fn described(request: Request<()>) -> Result<Described, Undescribed> {
    let manner = callers().manner(&from("10.0.0.1"), &request).unwrap();
    callers().describe(manner, request.into_parts().0)
}

/// Of nginx, Traefik and Caddy.
fn said(headers: &[(&str, &str)]) -> Result<Described, Undescribed> {
    described(request("GET", PATH, headers))
}

fn with<'a>(
    headers: &[(&'a str, &'a str)],
    name: &'a str,
    values: &[&'a str],
) -> Vec<(&'a str, &'a str)> {
    let others = headers.iter().filter(|(other, _)| *other != name).copied();
    others
        .chain(values.iter().map(|value| (name, *value)))
        .collect()
}

#[test]
fn every_caller_describes_the_same_request() {
    let asked = [
        said(&NGINX),
        said(&TRAEFIK),
        described(request("PUT", "/auth/verify/envoy/notes/1?x=%2f", &ENVOY)),
    ];
    for described in asked {
        let Described {
            connection,
            request,
        } = described.unwrap();
        assert_eq!(connection.peer.as_str(), "203.0.113.9");
        assert!(connection.tls);
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.uri().to_string(), "/notes/1?x=%2f");
        let headers = request.headers();
        assert_eq!(headers.get_all("host").iter().count(), 1);
        assert_eq!(headers["host"], "app.example.com");
        assert_eq!(headers.len(), 1, "{headers:?}");
    }
}

#[test]
fn a_caller_is_the_direct_peer_and_asks_at_one_place() {
    let asks = |address: &str, method: &str, target: &str| {
        let lines = [(FORWARDED_FOR, "10.0.0.1")];
        callers().manner(&from(address), &request(method, target, &lines))
    };
    assert_eq!(asks("10.0.0.1", "GET", PATH), Some(Manner::Forwarded));
    let below = asks("10.0.0.1", "POST", "/auth/verify/envoy/a");
    assert_eq!(below, Some(Manner::Prefixed));
    for (address, method, target) in [
        ("203.0.113.9", "GET", PATH),
        ("203.0.113.9", "GET", "/auth/verify/envoy/a"),
        ("10.0.0.1", "GET", "/auth/verify/"),
        ("10.0.0.1", "GET", "/auth/verify/a"),
        ("10.0.0.1", "GET", "/auth/verify/envoyer"),
        ("10.0.0.1", "GET", "/auth/verifying"),
        ("10.0.0.1", "GET", "/auth/%76erify"),
        ("10.0.0.1", "GET", "/verify"),
    ] {
        assert_eq!(asks(address, method, target), None, "{address} {target}");
    }
}

// SECURITY 15
#[test]
fn what_is_missing_or_said_twice_is_named() {
    for (headers, names) in [
        (
            &NGINX[..],
            &[ORIGINAL_URL, ORIGINAL_METHOD, FORWARDED_FOR][..],
        ),
        (
            &TRAEFIK[..],
            &[
                FORWARDED_METHOD,
                FORWARDED_PROTO,
                FORWARDED_HOST,
                FORWARDED_URI,
                FORWARDED_FOR,
            ][..],
        ),
    ] {
        for name in names {
            let said_anew = |values: &[&'static str]| said(&with(headers, name, values)).err();
            assert_eq!(said_anew(&[]), Some(Undescribed::Missing(name)));
            let value = headers.iter().find(|(other, _)| other == name).unwrap().1;
            let repeated = said_anew(&[value, value]);
            assert_eq!(repeated, Some(Undescribed::Repeated(name)));
        }
    }
    let target = "/auth/verify/envoy/a";
    for name in [FORWARDED_PROTO, REAL_IP] {
        let missing = described(request("GET", target, &with(&ENVOY, name, &[])));
        assert_eq!(missing.err(), Some(Undescribed::Missing(name)));
        let repeated = with(&ENVOY, name, &["10.0.0.1", "203.0.113.9"]);
        let repeated = described(request("GET", target, &repeated));
        assert_eq!(repeated.err(), Some(Undescribed::Repeated(name)));
    }
    let nothing = said(&[(FORWARDED_FOR, "203.0.113.9")]);
    assert_eq!(nothing.err(), Some(Undescribed::Nothing));
    for target in ["/auth/verify/envoy", "/auth/verify/envoy?x"] {
        assert!(
            described(request("GET", target, &ENVOY)).is_err(),
            "{target}"
        );
    }
}

// SECURITY 15
#[test]
fn a_stranger_describes_nothing_beside_the_caller() {
    for (name, value) in TRAEFIK {
        if name != FORWARDED_FOR {
            let both = said(&with(&NGINX, name, &[value]));
            assert_eq!(both.err(), Some(Undescribed::Ambiguous(name)));
        }
    }
    for (name, value) in NGINX {
        if name != FORWARDED_FOR {
            assert!(said(&with(&TRAEFIK, name, &[value])).is_err(), "{name}");
        }
    }
    for (name, value) in NGINX.into_iter().chain(TRAEFIK) {
        if ![FORWARDED_FOR, FORWARDED_PROTO].contains(&name) {
            let lines = with(&ENVOY, name, &[value]);
            let both = described(request("GET", "/auth/verify/envoy/a", &lines));
            assert_eq!(both.err(), Some(Undescribed::Ambiguous(name)));
        }
    }
}

// SECURITY 6
#[test]
fn what_could_be_lost_in_reading_is_refused() {
    for url in [
        "",
        "/notes",
        "app.example.com/notes",
        "ftp://app.example.com/",
        "HTTPS://app.example.com/",
        "https://app.example.com",
        "https://app.example.com?x",
        "https://app.example.com/notes#/admin",
        "https://app.example.com/no tes",
        "https://app.example.com/a\tb",
    ] {
        let refused = said(&with(&NGINX, ORIGINAL_URL, &[url])).err();
        let is_named =
            matches!(refused, Some(Undescribed::Unreadable(name, _)) if name == ORIGINAL_URL);
        assert!(is_named, "{url:?}: {refused:?}");
    }
    for uri in ["", "notes", "*", "?x", "#", "/a#b", "https://h/a"] {
        let refused = said(&with(&TRAEFIK, FORWARDED_URI, &[uri])).err();
        assert!(refused.is_some(), "{uri:?}");
    }
    for (name, value) in [
        (FORWARDED_METHOD, "GET POST"),
        (FORWARDED_PROTO, "https,http"),
        (FORWARDED_PROTO, ""),
        (FORWARDED_FOR, ""),
        (FORWARDED_FOR, "203.0.113.9, unknown"),
        (FORWARDED_FOR, "203.0.113.9,"),
    ] {
        assert!(said(&with(&TRAEFIK, name, &[value])).is_err(), "{value:?}");
    }
}

// SECURITY 15
#[test]
fn the_client_is_who_the_caller_has_a_connection_with() {
    let peer = |chain: &'static str| {
        let described = said(&with(&NGINX, FORWARDED_FOR, &[chain])).unwrap();
        let rest = described.request.headers().get(FORWARDED_FOR).cloned();
        let rest = rest.map(|rest| rest.to_str().unwrap().to_owned());
        (described.connection.peer.as_str().to_owned(), rest)
    };
    assert_eq!(peer("203.0.113.9"), ("203.0.113.9".to_owned(), None));
    assert_eq!(
        peer("6.6.6.6, 198.51.100.7, 203.0.113.9"),
        (
            "203.0.113.9".to_owned(),
            Some("6.6.6.6, 198.51.100.7".to_owned())
        )
    );
    assert_eq!(peer("[2001:db8::1]:4711"), ("2001:db8::1".to_owned(), None));
}

#[test]
fn the_usual_port_goes_without_saying() {
    let host = |url: &'static str| {
        let described = said(&with(&NGINX, ORIGINAL_URL, &[url])).unwrap();
        let host = described.request.headers()["host"].clone();
        (described.connection.tls, host.to_str().unwrap().to_owned())
    };
    assert_eq!(host("https://a:443/"), (true, "a".to_owned()));
    assert_eq!(host("http://a:80/"), (false, "a".to_owned()));
    assert_eq!(host("http://a:443/"), (false, "a:443".to_owned()));
    assert_eq!(host("https://[::1]:443/"), (true, "[::1]".to_owned()));
}

#[test]
fn whoever_sends_a_key_or_a_version_asks_for_a_websocket() {
    for (name, value) in [
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ] {
        let lines = with(&TRAEFIK, name, &[value]);
        let headers = said(&lines).unwrap().request.headers().clone();
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["connection"], "Upgrade");
        assert_eq!(headers[name], value);
        assert!(headers.contains_key("sec-websocket-key"));
    }
}

proptest! {
    // SECURITY 6
    #[test]
    fn a_path_is_asked_about_byte_for_byte_or_not_at_all(path in "/?[ -~]{0,12}") {
        let url = format!("https://a/{path}");
        for (lines, asked) in [
            (with(&NGINX, ORIGINAL_URL, &[&url]), format!("/{path}")),
            (with(&TRAEFIK, FORWARDED_URI, &[&path]), path.clone()),
        ] {
            if let Ok(described) = said(&lines) {
                assert_eq!(described.request.uri().to_string(), asked);
            }
        }
    }

    #[test]
    fn no_description_panics(name in 0..8_usize, value in any::<Vec<u8>>(), path in "[!-~]{0,20}") {
        let names = [
            ORIGINAL_URL, ORIGINAL_METHOD, FORWARDED_METHOD, FORWARDED_PROTO, FORWARDED_HOST,
            FORWARDED_URI, FORWARDED_FOR, REAL_IP,
        ];
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for (target, lines) in [(PATH, &NGINX[..]), (PATH, &TRAEFIK[..]), ("/auth/verify/envoy/a", &ENVOY[..])] {
                let mut asked = request("GET", target, lines);
                asked.headers_mut().insert(names[name], value.clone());
                let _ = described(asked);
            }
        }
        if let Ok(uri) = format!("/auth/verify/envoy/{path}").parse::<Uri>() {
            let mut asked = request("GET", "/", &ENVOY);
            *asked.uri_mut() = uri;
            let asks = callers().manner(&from("10.0.0.1"), &asked).is_some();
            assert!(asks);
            let _ = described(asked);
        }
    }
}
