//! TLS to a target: whom to believe, by which name, and who the gateway is there.
//!
//! TLS 1.2 and 1.3 with the suites of the listeners; sessions are resumed, each core keeping its own. It must
//! never believe a certificate that was not checked, unless the file says `insecure_skip_verify`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates;
use crate::certificates::CertificateError;
use crate::certificates::provider;
use crate::config::Problem;
use crate::config::UpstreamTls;
use crate::config::UpstreamTrust;
use crate::upstream::connection::Wanted;

/// How many sessions a core remembers of one upstream.
const SESSIONS: usize = 256;

/// A connection over TLS.
pub(super) type Secured = TlsStream<TcpStream>;

/// TLS to the targets of one upstream. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    /// Whatever the target prefers.
    any: Arc<ClientConfig>,
    /// For what HTTP/2 does not carry: WebSockets.
    http1: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be used, now: which, and where the file names it.
    pub fn load(config: &UpstreamTls, now: SystemTime) -> Result<Self, Problem> {
        let at = |position| {
            move |error: CertificateError| Problem {
                position,
                message: error.to_string(),
            }
        };
        let setup = |error: rustls::Error| at(config.position)(error.into());
        let provider = Arc::new(provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(setup)?;
        let builder = match &config.trust {
            UpstreamTrust::Nobody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            UpstreamTrust::System => {
                builder.with_root_certificates(certificates::system_authorities())
            }
            UpstreamTrust::File { path, position } => {
                let authorities = certificates::authorities(path).map_err(at(*position))?;
                builder.with_root_certificates(authorities)
            }
        };
        let mut any = match &config.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let own = certificates::load(files, now).map_err(at(files.position))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
            }
        };
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut http1 = any.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = config.server_name.clone();
        let server_name = name
            .map(ServerName::try_from)
            .transpose()
            .map_err(|_| setup(rustls::Error::General("server_name is no name".to_owned())))?;
        Ok(Self {
            any: Arc::new(any),
            http1: Arc::new(http1),
            server_name,
        })
    }

    /// The same with a memory of its own for sessions, which no other core waits for.
    pub fn of_core(&self) -> Self {
        let own = |config: &Arc<ClientConfig>| {
            let mut config = ClientConfig::clone(config);
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Arc::new(config)
        };
        Self {
            any: own(&self.any),
            http1: own(&self.http1),
            server_name: self.server_name.clone(),
        }
    }

    /// The handshake with a target of this host, and whether HTTP/2 is spoken after it.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        wanted: Wanted,
    ) -> io::Result<(Secured, bool)> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let config = match wanted {
            Wanted::Any => &self.any,
            Wanted::Http1 => &self.http1,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_http2))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Believes every certificate, and still insists that whoever shows it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
