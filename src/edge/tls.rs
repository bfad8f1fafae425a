//! TLS: which versions, which certificate, and the handshake.
//!
//! TLS 1.2 and 1.3 with AEAD suites and forward secrecy only, no early data, no renegotiation: what
//! rustls offers, said aloud where it could be chosen otherwise (SECURITY 56).

use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ClientHello;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::ResolvesServerCert;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server;
use webpki::EndEntityCert;

use crate::certificates;
use crate::certificates::CertificateError;
use crate::certificates::provider;
use crate::config::CertificateFiles;
use crate::config::CertificateRequest;
use crate::edge::patience::Patient;
use crate::gate::certificate::ClientCertificate;

/// A connection over TLS.
pub(super) type TlsStream<S> = server::TlsStream<S>;

/// TLS, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

/// The certificates of the file, for all listeners that speak TLS.
pub struct Certificates {
    by_sni: Arc<BySni>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Certificates {
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
        Ok(Self {
            by_sni: Arc::new(BySni { certificates }),
            ticketer: aws_lc_rs::Ticketer::new()?,
        })
    }

    /// TLS of one listener, which may ask for a certificate as well. Such a listener resumes nothing: a
    /// session would outlive the check of the certificate that it began with.
    ///
    /// # Errors
    ///
    /// Where the authorities cannot be used.
    pub fn tls(&self, client: Option<&CertificateRequest>) -> Result<Tls, CertificateError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match client {
            Some(client) => builder.with_client_cert_verifier(verifier(client)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.by_sni) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.max_early_data_size = 0;
        match client {
            Some(_) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            None => config.ticketer = Arc::clone(&self.ticketer),
        }
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

impl Tls {
    /// The handshake.
    pub(super) async fn accept(&self, stream: Patient) -> io::Result<Box<TlsStream<Patient>>> {
        self.acceptor.accept(stream).await.map(Box::new)
    }

    /// The certificate that the client of a connection proved to have.
    pub(super) fn certificate_of(stream: &TlsStream<Patient>) -> Option<Rc<ClientCertificate>> {
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates()?.first()?;
        Some(Rc::new(ClientCertificate::of(leaf)))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(..)")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Whose certificates are good, by the authorities of a file (RFC 5280). One that is not ends the
/// handshake, also where none had to come.
pub fn verifier(
    client: &CertificateRequest,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let roots = certificates::authorities(&client.authorities)?;
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
    let builder = if client.is_required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|source| CertificateError::Authorities {
            path: client.authorities.clone(),
            source,
        })
}

/// A client's certificate from a file, the first one in it, for whoever asks what would become of it.
///
/// # Errors
///
/// Where there is none.
pub fn client_certificate(path: &Path) -> Result<ClientCertificate, CertificateError> {
    let leaf = certificates::leaf(path)?;
    Ok(ClientCertificate::of(&leaf))
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
