//! TLS: which versions, which certificate, and the handshake.
//!
//! TLS 1.2 and 1.3 with AEAD suites and forward secrecy only, no early data, no renegotiation: what
//! rustls offers, said aloud where it could be chosen otherwise (SECURITY 56).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use crate::certificates;
use crate::certificates::CertificateError;
use crate::certificates::provider;
use crate::config::CertificateFiles;
use crate::edge::patience::Patient;

/// TLS, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Loads certificates; the first one serves unknown names.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be used, now.
    pub fn load(files: &[CertificateFiles], now: SystemTime) -> Result<Self, CertificateError> {
        let certificates = files.iter().map(|files| {
            let key = certificates::load(files, now)?;
            Ok::<_, CertificateError>(Certificate {
                names: names(&key),
                key: Arc::new(key),
            })
        });
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni { certificates }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.max_early_data_size = 0;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: Patient) -> io::Result<TlsStream<Patient>> {
        self.acceptor.accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// The names of the leaf; one that cannot be read is for nobody in particular.
fn names(key: &CertifiedKey) -> Vec<String> {
    let leaf = key.cert.first();
    let leaf = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
    let names = leaf.iter().flat_map(|leaf| leaf.valid_dns_names());
    names.map(str::to_ascii_lowercase).collect()
}

/// Chooses by SNI: an exact name before a wildcard before the first.
#[derive(Debug)]
struct BySni {
    certificates: Vec<Certificate>,
}

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names it is for, in lower case, wildcards as `*.example.com`.
    names: Vec<String>,
}

impl BySni {
    fn choose(&self, name: &str) -> Option<&Certificate> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let wildcard = name
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        let holding = |name: &String| {
            self.certificates
                .iter()
                .find(|one| one.names.contains(name))
        };
        holding(&name).or_else(|| holding(&wildcard?))
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello
            .server_name()
            .and_then(|name| self.choose(name))
            .or_else(|| self.certificates.first())
            .map(|one| Arc::clone(&one.key))
    }
}
