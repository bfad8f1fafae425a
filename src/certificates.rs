//! Certificates, keys and authorities in PEM files, and the cryptography of TLS: what listeners and
//! connections to apps have in common.
//!
//! What cannot be used is found here, before anything is served. This room must never take a private key
//! that others can use.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::VerifierBuilderError;
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use crate::clock::unix_seconds;
use crate::config::CertificateFiles;

/// Says which provider TLS uses, before anything asks: a crate that brought another one along would
/// otherwise make rustls refuse to choose.
pub fn install_provider() {
    // Fails only where one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// What TLS uses in both directions. The suites are in the order in which they are chosen, whatever a client
/// likes best: of those that are all good, the cheapest for both ends first.
pub fn provider() -> CryptoProvider {
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
    /// Nobody's certificate could be checked with it.
    #[error("{path} holds something that is no authority: {source}")]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// As well, all of them together.
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

/// A certificate, with its chain and its key.
///
/// # Errors
///
/// Where it cannot be used, now.
pub fn load(files: &CertificateFiles, now: SystemTime) -> Result<CertifiedKey, CertificateError> {
    let chain = chain(&files.cert)?;
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
    Ok(key)
}

/// The authorities of a file.
///
/// # Errors
///
/// Where there is none, or one that cannot be used.
pub fn authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for authority in chain(path)? {
        roots
            .add(authority)
            .map_err(|source| CertificateError::Authority {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(roots)
}

/// What the machine trusts; where it has nothing, what Mozilla trusts.
pub fn system_authorities() -> RootCertStore {
    let mut authorities = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the authorities that this machine trusts cannot be read");
    }
    authorities.add_parsable_certificates(found.certs);
    if authorities.is_empty() {
        tracing::info!("this machine trusts no authorities; those of Mozilla are used");
        authorities.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    authorities
}

/// The first certificate of a file.
///
/// # Errors
///
/// Where there is none.
pub fn leaf(path: &Path) -> Result<CertificateDer<'static>, CertificateError> {
    let (pem, _) = read(path)?;
    CertificateDer::from_pem_slice(&pem).map_err(|_| CertificateError::NotPem {
        path: path.to_owned(),
        what: "certificate",
    })
}

/// The certificates of a file: at least one.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let (pem, _) = read(path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| CertificateError::NotPem {
            path: path.to_owned(),
            what: "certificate",
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
