//! TLS: which versions, which certificate, and the handshake.
//!
//! TLS 1.2 and 1.3 with AEAD suites and forward secrecy only, no early data, no renegotiation: what
//! rustls offers, said aloud where it could be chosen otherwise (SECURITY 56).

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::ResolvesServerCert;
use rustls::server::VerifierBuilderError;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use crate::clock::unix_seconds;
use crate::config::CertificateFiles;
use crate::config::CertificateRequest;
use crate::edge::patience::Patient;
use crate::gate::certificate::ClientCertificate;

/// Says which provider TLS uses, before anything asks: a crate that brought another one along would
/// otherwise make rustls refuse to choose.
pub fn install_provider() {
    // Fails only where one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The suites in the order in which they are chosen, whatever the client likes best: of those that
/// are all good, the cheapest for both ends first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// A connection over TLS.
pub(super) type TlsStream<S> = server::TlsStream<S>;

/// TLS, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; bring it, readable for whoever runs the gateway")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the private key, or put another in its place.
    #[error(
        "{path} has mode {mode:04o}, so others can use it; a private key is for its owner, and perhaps for a group that reads it: chmod g-w,o= {path}"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Everybody who checks it would turn away.
    #[error(
        "the certificate in {path} expired on {since}; renew it, or remove it and its key where a development certificate may be made"
    )]
    Expired {
        /// Which.
        path: PathBuf,
        /// Since when.
        since: humantime::Rfc3339Timestamp,
    },
    /// As well; or the clock is wrong.
    #[error(
        "the certificate in {path} is not valid before {until}; bring one that is, or set this machine's clock"
    )]
    NotYetValid {
        /// Which.
        path: PathBuf,
        /// Until when.
        until: humantime::Rfc3339Timestamp,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form")]
    NotPem {
        /// Which.
        path: PathBuf,
        /// A certificate, or a private key.
        what: &'static str,
    },
    /// The two do not belong together, or are of a kind that TLS does not know.
    #[error(
        "{cert} and {key} cannot be used together: {source}; bring the key that the certificate was made for"
    )]
    Mismatch {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Nobody's certificate could be checked with them.
    #[error("{path} cannot be used to check the certificates of clients: {source}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// rustls refuses.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
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
        let certificates = files.iter().map(|files| load(files, now));
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
    let path = || client.authorities.clone();
    let (pem, _) = read(&client.authorities)?;
    let not_pem = || CertificateError::NotPem {
        path: path(),
        what: "certificate",
    };
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&pem) {
        let authority = authority.map_err(|_| not_pem())?;
        roots.add(authority).map_err(|_| not_pem())?;
    }
    if roots.is_empty() {
        return Err(not_pem());
    }
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
            path: path(),
            source,
        })
}

/// A client's certificate from a file, the first one in it, for whoever asks what would become of it.
///
/// # Errors
///
/// Where there is none.
pub fn client_certificate(path: &Path) -> Result<ClientCertificate, CertificateError> {
    let (pem, _) = read(path)?;
    let leaf = CertificateDer::from_pem_slice(&pem).map_err(|_| CertificateError::NotPem {
        path: path.to_owned(),
        what: "certificate",
    })?;
    Ok(ClientCertificate::of(&leaf))
}

fn load(files: &CertificateFiles, now: SystemTime) -> Result<Certificate, CertificateError> {
    let (chain, _) = read(&files.cert)?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| CertificateError::NotPem {
            path: files.cert.clone(),
            what: "certificate",
        })?;
    let (key, mode) = read(&files.key)?;
    // SECURITY 59. A group that reads is the custom of `ssl-cert`.
    if mode & 0o027 != 0 {
        return Err(CertificateError::Exposed {
            path: files.key.clone(),
            mode,
        });
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| CertificateError::NotPem {
        path: files.key.clone(),
        what: "private key",
    })?;
    let mismatch = |source| CertificateError::Mismatch {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    };
    let key =
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(mismatch)?;
    refuse_out_of_date(&key, &files.cert, now)?;
    Ok(Certificate {
        names: names(&key),
        key: Arc::new(key),
    })
}

/// Whether the leaf is valid at this time. It is asked for a path to nobody: what webpki looks at
/// first is the time, and that is all we want to know.
fn refuse_out_of_date(
    key: &CertifiedKey,
    path: &Path,
    now: SystemTime,
) -> Result<(), CertificateError> {
    let leaf = key.cert.first();
    let Some(leaf) = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok()) else {
        return Ok(());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(unix_seconds(now)));
    let usage = KeyUsage::server_auth();
    let shown = |time: UnixTime| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        humantime::format_rfc3339_seconds(time)
    };
    let path = || path.to_owned();
    match leaf.verify_for_usage(&[], &[], &[], now, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Err(CertificateError::Expired {
            path: path(),
            since: shown(not_after),
        }),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Err(CertificateError::NotYetValid {
                path: path(),
                until: shown(not_before),
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What a file holds, and the permissions of that very file.
fn read(path: &Path) -> Result<(Vec<u8>, u32), CertificateError> {
    let read = || {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((content, mode))
    };
    read().map_err(|source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    })
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
