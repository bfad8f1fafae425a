//! Client certificates: what a listener asks for, whom a route admits, and what an app is told.

use std::fs;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::date_time_ymd;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::binary::portcullis;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate as `NAME.pem` and `NAME.key`: its fingerprint as OpenSSL shows it.
fn issue(
    folder: &Folder,
    authority: &Authority,
    name: &str,
    change: impl Fn(&mut CertificateParams),
) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, authority).unwrap();
    folder.write(&format!("{name}.pem"), &cert.pem());
    folder.write(&format!("{name}.key"), &key.serialize_pem());
    fingerprint(cert.der())
}

fn fingerprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, der);
    let pairs: Vec<_> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    pairs.join(":")
}

/// Routes for one certificate, for any, and for none, on listeners that require one, request one, and
/// do not ask.
struct Bench {
    gateway: Gateway,
    app: Upstream,
}

impl Bench {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let folder = Folder::new();
        let (ours, others) = (authority(), authority());
        folder.write("clients.pem", &ours.pem());
        let alice = issue(&folder, &ours, "alice", |_| ());
        issue(&folder, &ours, "bob", |_| ());
        issue(&folder, &others, "stranger", |_| ());
        issue(&folder, &ours, "expired", |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        });
        issue(&folder, &ours, "early", |params| {
            params.not_before = date_time_ymd(4000, 1, 1);
        });
        issue(&folder, &ours, "server", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        folder.configure(&format!(
            r#"
            listeners = [
                {{ address = "127.0.0.1:0" }},
                {{ address = "127.0.0.1:0", client_certificate = "request", client_ca = "clients.pem" }},
                {{ address = "127.0.0.1:0", client_certificate = "require", client_ca = "clients.pem" }},
            ]
            [verify]
            callers = ["127.0.0.1"]
            [defaults]
            auth = "none"
            upstream = "{}"
            [routes.alice]
            path = "/alice"
            client_certificates = "{alice}"
            forward_client_certificate = true
            [routes.any]
            path = "/any"
            client_certificates = "any"
            [routes.open]
            path = "/open"
            [routes.both]
            path = "/both"
            auth = "required"
            client_certificates = ["{}", "{}"]
            "#,
            app.url(),
            alice.replace(':', "").to_lowercase(),
            "00".repeat(32),
        ));
        let gateway = Gateway::start_in(&folder);
        Self { gateway, app }
    }

    /// What curl says, by its way of telling the status.
    fn curl(
        &self,
        listener: usize,
        path: &str,
        certificate: Option<&str>,
        more: &[&str],
    ) -> Output {
        let folder = self.gateway.folder();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--write-out", "%{http_code}", "--output"])
            .arg(folder.path("answer"))
            .arg("--cacert")
            .arg(folder.path("certs/ca.pem"))
            .args(more);
        if let Some(name) = certificate {
            curl.arg("--cert").arg(folder.path(&format!("{name}.pem")));
            curl.arg("--key").arg(folder.path(&format!("{name}.key")));
        }
        let port = self.gateway.listeners()[listener].port();
        curl.arg(format!("https://localhost:{port}{path}"));
        tokio::task::block_in_place(|| curl.output()).unwrap()
    }

    #[track_caller]
    fn assert_answered(&self, said: &Output, status: &str, code: &str) {
        assert_eq!(String::from_utf8_lossy(&said.stdout), status, "{said:?}");
        let answer = fs::read_to_string(self.gateway.folder().path("answer")).unwrap();
        assert!(answer.contains(code), "{answer}");
    }
}

const OFF: usize = 0;
const REQUEST: usize = 1;
const REQUIRE: usize = 2;

/// Over both protocols and both versions, for a policy must not depend on them.
const WAYS: [&[&str]; 3] = [
    &["--http1.1"],
    &["--http2"],
    &["--http2", "--tls-max", "1.2"],
];

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn a_route_admits_only_the_certificates_that_it_lists() {
    let bench = Bench::start().await;
    for way in WAYS {
        for (listener, path, certificate, is_admitted) in [
            (REQUIRE, "/alice", Some("alice"), true),
            (REQUIRE, "/alice", Some("bob"), false),
            (REQUIRE, "/any", Some("bob"), true),
            (REQUIRE, "/open", Some("bob"), true),
            (REQUEST, "/alice", Some("alice"), true),
            (REQUEST, "/alice", Some("bob"), false),
            (REQUEST, "/alice", None, false),
            (REQUEST, "/any", Some("bob"), true),
            (REQUEST, "/any", None, false),
            (REQUEST, "/open", None, true),
            // Nobody asked for it, so that nobody was shown it.
            (OFF, "/alice", Some("alice"), false),
            (OFF, "/any", Some("alice"), false),
            (OFF, "/open", None, true),
        ] {
            let said = bench.curl(listener, path, certificate, way);
            if is_admitted {
                bench.assert_answered(&said, "200", "");
                bench.app.only();
            } else {
                bench.assert_answered(&said, "403", "client_certificate_required");
                bench.app.assert_untouched();
            }
        }
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_is_no_connection() {
    let bench = Bench::start().await;
    for way in WAYS {
        for listener in [REQUIRE, REQUEST] {
            for certificate in ["stranger", "expired", "early", "server"] {
                let said = bench.curl(listener, "/open", Some(certificate), way);
                assert!(!said.status.success(), "{certificate}: {said:?}");
            }
        }
        let said = bench.curl(REQUIRE, "/open", None, way);
        assert!(!said.status.success(), "{said:?}");
        bench.app.assert_untouched();
        // Whoever is not asked is not judged.
        let said = bench.curl(OFF, "/open", Some("stranger"), way);
        bench.assert_answered(&said, "200", "");
        bench.app.only();
    }
}

// SECURITY 18
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_proxy_that_asks_is_not_its_clients() {
    let bench = Bench::start().await;
    for (path, status, code) in [
        ("/alice", "403", "client_certificate_required"),
        ("/any", "403", "client_certificate_required"),
        ("/open", "200", ""),
    ] {
        let url = format!("X-Original-URL: https://localhost{path}");
        let described = [
            "--header",
            &url,
            "--header",
            "X-Original-Method: GET",
            "--header",
            "X-Forwarded-For: 203.0.113.9",
        ];
        let said = bench.curl(REQUIRE, "/auth/verify", Some("alice"), &described);
        bench.assert_answered(&said, status, code);
    }
    bench.app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_asked_for_beside_a_credential() {
    let bench = Bench::start().await;
    let alice = bench.gateway.signed_in("alice").await;
    let bearer = format!("Authorization: Bearer {}", alice.token());
    for (certificate, header, status, code) in [
        (Some("alice"), Some(&*bearer), "200", ""),
        (None, Some(&*bearer), "403", "client_certificate_required"),
        (
            Some("bob"),
            Some(&*bearer),
            "403",
            "client_certificate_required",
        ),
        (Some("alice"), None, "401", "unauthenticated"),
        (None, None, "401", "unauthenticated"),
    ] {
        let header = header.map(|header| ["-H", header]);
        let more = header.as_ref().map_or(&[][..], |header| &header[..]);
        let said = bench.curl(REQUEST, "/both", certificate, more);
        bench.assert_answered(&said, status, code);
        if status == "200" {
            bench.app.only();
        } else {
            bench.app.assert_untouched();
        }
    }
}

// SECURITY 13
#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_told_the_certificate_where_its_route_asks_for_it() {
    let bench = Bench::start().await;
    let forging = [
        "-H",
        "Client-Cert: :AAAA:",
        "-H",
        "client-cert-chain: :AAAA:",
    ];
    let pem = fs::read(bench.gateway.folder().path("alice.pem")).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    let told = format!(":{}:", STANDARD.encode(&der));
    for (path, certificate, told) in [
        ("/alice", Some("alice"), &*told),
        ("/any", Some("alice"), ""),
        ("/open", None, ""),
    ] {
        let said = bench.curl(REQUEST, path, certificate, &forging);
        bench.assert_answered(&said, "200", "");
        let arrived = bench.app.only();
        assert_eq!(arrived.header("client-cert"), told, "{path}");
        assert_eq!(arrived.header("client-cert-chain"), "", "{path}");
    }
}

#[test]
fn what_cannot_work_is_said_before() {
    let folder = Folder::new();
    let listener = |keys: &str| {
        format!(
            "listeners = [{{ address = \"127.0.0.1:0\", {keys} }}]\n[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nroles = [\"x\"]\nclient_certificates = \"any\"\n"
        )
    };
    let good = "client_certificate = \"require\", client_ca = \"clients.pem\"";
    folder.write("clients.pem", "nothing");
    for (keys, told) in [
        (good, "holds no certificate in PEM form"),
        (
            "client_certificate = \"require\", client_ca = \"none.pem\"",
            "cannot read",
        ),
        ("client_certificate = \"require\"", "`client_ca`"),
        ("client_certificate = \"maybe\"", "`request`"),
        (
            "tls = false, client_certificate = \"request\", client_ca = \"clients.pem\"",
            "does not speak",
        ),
    ] {
        folder.configure(&listener(keys));
        let said = portcullis(&folder, &["check"]).expect(2).stderr;
        assert!(said.contains(told), "{keys}: {said}");
    }
    let ours = authority();
    folder.write("clients.pem", &ours.pem());
    folder.configure(&listener(good));
    portcullis(&folder, &["check", "--strict"]).expect(0);
    for (keys, told) in [
        ("client_ca = \"clients.pem\"", "nobody is asked"),
        ("tls = true", "nobody can pass route `a`"),
    ] {
        folder.configure(&listener(keys));
        let said = portcullis(&folder, &["check", "--strict"]).expect(1).stdout;
        assert!(said.contains(told), "{keys}: {said}");
    }
    folder.configure(&listener(good).replace("\"any\"", "\"abc\""));
    let said = portcullis(&folder, &["check"]).expect(2).stderr;
    assert!(said.contains("SHA-256 fingerprint"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_become_of_a_certificate_is_explained() {
    let bench = Bench::start().await;
    let folder = bench.gateway.folder();
    let explain = |more: &[&str]| {
        let arguments = [&["explain"], more, &["GET", "https://localhost/alice"]].concat();
        portcullis(folder, &arguments)
    };
    let admitted = explain(&["--client-certificate", "alice.pem"]).expect(0);
    assert!(admitted.stdout.contains("client-cert: :"), "{admitted:?}");
    for more in [&[][..], &["--client-certificate", "bob.pem"]] {
        let refused = explain(more).expect(1);
        assert!(
            refused.stdout.contains("client_certificate_required"),
            "{refused:?}"
        );
    }
}

/// A session would carry the certificate that it began with past its end.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_where_a_certificate_is_asked_for() {
    let bench = Bench::start().await;
    let folder = bench.gateway.folder();
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(&bench.gateway.authority()).unwrap();
    roots.add(trusted).unwrap();
    for (listener, is_resumed) in [(REQUIRE, false), (REQUEST, false), (OFF, true)] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let chain = vec![CertificateDer::from_pem_slice(&read("alice.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(&read("alice.key")).unwrap();
            let config = ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(roots.clone())
                .with_client_auth_cert(chain, key)
                .unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let mut kinds = [None; 2];
            for kind in &mut kinds {
                let address = bench.gateway.listeners()[listener];
                let stream = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let stream = connector.connect(name, stream).await.unwrap();
                *kind = stream.get_ref().1.handshake_kind();
                // Tickets come with the first bytes.
                let request = "GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n";
                assert_eq!(Raw::new(stream).ask(request).await.status(), 200);
            }
            let resumed = kinds.map(|kind| kind == Some(HandshakeKind::Resumed));
            assert_eq!(resumed, [false, is_resumed], "{listener}");
        }
    }
}
