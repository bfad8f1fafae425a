//! Handshakes: which versions, which certificate, which protocol, and how long one may take.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::binary::portcullis;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::in_time;

const ROUTE: &str = r#"
[routes.app]
path = "/"
auth = "none"
upstream = "echo"
"#;

/// Connects for a name, with these versions and protocols, trusting one authority.
async fn connect(
    gateway: &Gateway,
    authority: &[u8],
    name: &'static str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority).unwrap();
    roots.add(authority).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(gateway.address()).await?;
    let connecting =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream);
    in_time("a TLS handshake", connecting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_and_both_protocols_are_spoken() {
    let gateway = Gateway::start(ROUTE);
    let ca = gateway.authority();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for protocol in [b"h2".as_slice(), b"http/1.1"] {
            let connected = connect(&gateway, &ca, "localhost", &[version], &[protocol]).await;
            let connected = connected.unwrap();
            let (_, session) = connected.get_ref();
            assert_eq!(session.alpn_protocol(), Some(protocol));
            assert_eq!(session.protocol_version(), Some(version.version));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_is_not_spoken_is_refused() {
    let gateway = Gateway::start(ROUTE);
    let ca = gateway.authority();
    let connected = connect(&gateway, &ca, "localhost", rustls::ALL_VERSIONS, &[b"ftp"]).await;
    assert!(connected.is_err());
}

/// A certificate for these names, by an authority of its own, as `NAME.pem` and `NAME.key`.
fn certificate(folder: &Folder, file: &str, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    folder.write(&format!("certs/{file}.pem"), &made.cert.pem());
    let key = format!("certs/{file}.key");
    folder.write(&key, &made.signing_key.serialize_pem());
    set_mode(folder, &key, 0o600);
    made.cert.pem().into_bytes()
}

fn set_mode(folder: &Folder, name: &str, mode: u32) {
    fs::set_permissions(folder.path(name), Permissions::from_mode(mode)).unwrap();
}

// SECURITY 59
#[test]
fn a_private_key_that_others_can_use_is_refused() {
    let folder = Folder::with(&format!(
        "certificates = [{{ cert = 'certs/own.pem', key = 'certs/own.key' }}]\n{ROUTE}"
    ));
    certificate(&folder, "own", &["localhost"]);
    for mode in [0o644, 0o604, 0o602, 0o660] {
        set_mode(&folder, "certs/own.key", mode);
        let wrong = portcullis(&folder, &["check"]).expect(2).stderr;
        let mode = format!("mode 0{mode:o}");
        assert!(wrong.contains(&mode) && wrong.contains("chmod"), "{wrong}");
        portcullis(&folder, &["check", "--offline"]).expect(0);
        let refused = portcullis(&folder, &["serve"]).expect(2).stderr;
        assert!(refused.contains(&mode), "{refused}");
    }
    for mode in [0o400, 0o600, 0o640] {
        set_mode(&folder, "certs/own.key", mode);
        portcullis(&folder, &["check"]).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_chosen_by_name() {
    let folder = Folder::with(&format!(
        r#"
        certificates = [
            {{ cert = "certs/first.pem", key = "certs/first.key" }},
            {{ cert = "certs/wild.pem", key = "certs/wild.key" }},
            {{ cert = "certs/exact.pem", key = "certs/exact.key" }},
            {{ cert = "certs/both.pem", key = "certs/both.key" }},
        ]
        {ROUTE}
        "#
    ));
    let first = certificate(&folder, "first", &["first.test"]);
    let wild = certificate(&folder, "wild", &["*.example.test"]);
    let exact = certificate(&folder, "exact", &["app.example.test"]);
    let both = certificate(&folder, "both", &["both.example.test", "*.example.test"]);
    let gateway = Gateway::start_in(&folder);
    for (name, served) in [
        ("both.example.test", &both),
        ("app.example.test", &exact),
        ("other.example.test", &wild),
        ("first.test", &first),
        ("unknown.test", &first),
    ] {
        let expected = CertificateDer::from_pem_slice(served).unwrap();
        let shown = shown_for(&gateway, name).await;
        assert_eq!(shown, expected, "{name}");
    }
}

/// The leaf that is shown for a name, whoever signed it: caught before it is judged.
async fn shown_for(gateway: &Gateway, name: &'static str) -> CertificateDer<'static> {
    let catcher = Arc::new(catcher::Catcher::default());
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&catcher) as Arc<_>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let connecting =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream);
    // It refuses everything, so the handshake fails, after it has seen what was shown.
    let refused = in_time("a TLS handshake", connecting).await;
    assert!(refused.is_err());
    catcher.shown()
}

mod catcher {
    use std::sync::Mutex;

    use rustls::CertificateError;
    use rustls::DigitallySignedStruct;
    use rustls::Error;
    use rustls::SignatureScheme;
    use rustls::client::danger::HandshakeSignatureValid;
    use rustls::client::danger::ServerCertVerified;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::UnixTime;

    /// Remembers the leaf and refuses it.
    #[derive(Debug, Default)]
    pub(super) struct Catcher(Mutex<Option<CertificateDer<'static>>>);

    impl Catcher {
        pub(super) fn shown(&self) -> CertificateDer<'static> {
            self.0
                .lock()
                .unwrap()
                .clone()
                .expect("a certificate was shown")
        }
    }

    impl ServerCertVerifier for Catcher {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            *self.0.lock().unwrap() = Some(end_entity.clone().into_owned());
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("nothing is trusted here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("nothing is trusted here".to_owned()))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let gateway = Gateway::start(&format!("connections.handshake_timeout = \"1s\"\n{ROUTE}"));
    let mut silent = TcpStream::connect(gateway.address()).await.unwrap();
    let mut byte = [0];
    let read = in_time("the gateway to hang up", silent.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_development_authority_is_trusted_and_its_key_is_nowhere() {
    let gateway = Gateway::start(ROUTE);
    let ca = gateway.authority();
    let connected = connect(&gateway, &ca, "localhost", rustls::ALL_VERSIONS, &[b"h2"]).await;
    assert!(connected.is_ok());
    let files = fs::read_dir(gateway.folder().path("certs")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "localhost.key", "localhost.pem"]);
}
