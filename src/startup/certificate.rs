//! A development certificate, for the first minute: signed by an authority that is made for it
//! alone and whose private key is never written anywhere.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::config::CertificateFiles;
use crate::config::Config;
use crate::config::HostPattern;
use crate::config::ListenerKind;
use crate::config::Problem;
use crate::config::Problems;
use crate::disk;
use crate::edge::tls;
use crate::edge::tls::Certificates;

/// How long it is valid: some systems refuse more than 825 days.
const VALID_DAYS: u64 = 800;

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The authority to trust.
    pub authority: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
    /// Its key, with mode 0600.
    pub key: PathBuf,
    /// The names it is for.
    pub names: Vec<String>,
}

/// The first certificate whose files are missing, where it may be made up: every listener is on
/// loopback, or `dev`. Nothing is made yet.
///
/// # Errors
///
/// Every certificate that is missing and may not be made up, of which only one file is there, or
/// which cannot be used.
pub fn missing(
    config: &Config,
    dev: bool,
    now: SystemTime,
) -> Result<Option<&CertificateFiles>, Problems> {
    if !needs_tls(config) {
        return Ok(None);
    }
    let mut missing = None;
    let mut problems = unusable(config, now);
    for files in &config.certificates {
        let message = match (files.cert.exists(), files.key.exists()) {
            (true, true) => continue,
            (false, has_key) if may_be_made_up(config, dev) && missing.is_none() => {
                if !has_key || is_leftover(&files.key) {
                    missing = Some(files);
                    continue;
                }
                half_missing(&files.key, &files.cert)
            }
            (false, false) if missing.is_some() => format!(
                "there is no certificate at {}; only one of [[certificates]] is made up",
                files.cert.display()
            ),
            (false, false) => format!(
                "there is no certificate at {}; one is made up only for listeners on loopback, or \
                 with `serve --dev`",
                files.cert.display()
            ),
            (true, false) => half_missing(&files.cert, &files.key),
            (false, true) => half_missing(&files.key, &files.cert),
        };
        problems.push(Problem {
            position: files.position,
            message,
        });
    }
    if problems.is_empty() {
        return Ok(missing);
    }
    problems.sort();
    Err(Problems {
        file: config.file.clone(),
        problems,
    })
}

fn half_missing(there: &Path, missing: &Path) -> String {
    format!(
        "{} is there but {} is not: bring the missing one, or remove the other and a new pair is made",
        there.display(),
        missing.display()
    )
}

/// Whether a file was made here. Where the certificate, which is written last, is missing, that start was
/// interrupted.
fn is_leftover(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.starts_with(MADE_HERE))
}

/// Above a key and an authority that were made here; PEM allows text before its first boundary (RFC 7468 §2).
const MADE_HERE: &str = "Made by portcullis, for development only.\n";

/// What is wrong with certificates and keys that are there, and with the authorities that clients'
/// certificates are checked with.
pub fn unusable(config: &Config, now: SystemTime) -> Vec<Problem> {
    let problem = |position, error: CertificateError| Problem {
        position,
        message: error.to_string(),
    };
    let there = |files: &&CertificateFiles| files.cert.exists() && files.key.exists();
    let files = config.certificates.iter().filter(there);
    let own = files.filter_map(|files| {
        let error = Certificates::load(std::slice::from_ref(files), now).err()?;
        Some(problem(files.position, error))
    });
    let listeners = config.listeners.iter();
    let of_clients = listeners.filter_map(|listener| {
        let client = listener.client_certificate.as_ref()?;
        Some(problem(client.position, tls::verifier(client).err()?))
    });
    own.chain(of_clients).collect()
}

/// Whether any listener speaks TLS.
pub fn needs_tls(config: &Config) -> bool {
    let mut listeners = config.listeners.iter();
    listeners.any(|listener| listener.kind == ListenerKind::Tls)
}

fn may_be_made_up(config: &Config, dev: bool) -> bool {
    let mut listeners = config.listeners.iter();
    dev || listeners.all(|listener| listener.address.ip().is_loopback())
}

/// Makes what [`missing`] found: all three files, or none of them.
///
/// # Errors
///
/// Where there is an authority already, or a file cannot be written.
pub fn make(config: &Config, files: &CertificateFiles) -> anyhow::Result<Made> {
    let names = names(config);
    let (authority, cert, key) = sign(&names).context("cannot make a development certificate")?;
    let [authority, key] = [authority, key].map(|text| format!("{MADE_HERE}{text}"));
    let folder = files.cert.parent().unwrap_or_else(|| Path::new("."));
    let authority_file = folder.join("ca.pem");
    if is_leftover(&files.key) {
        let leftovers = [&authority_file, &files.key].into_iter();
        for leftover in leftovers.filter(|file| is_leftover(file)) {
            // What cannot be removed is told where it is to be written.
            let _ = fs::remove_file(leftover);
        }
    }
    if authority_file.exists() {
        let message = format!(
            "{} is there but the certificate beside it is not: bring the certificate, or remove the \
             authority and a new one is made with it",
            authority_file.display()
        );
        return Err(config.problem(files.position, message).into());
    }
    // The certificate last: it is what says that there are all three.
    let parts = [
        (&files.key, &key, 0o600),
        (&authority_file, &authority, 0o644),
        (&files.cert, &cert, 0o644),
    ];
    for (index, (path, text, mode)) in parts.into_iter().enumerate() {
        if let Err(error) = write(path, text, mode) {
            for (made, _, _) in parts.into_iter().take(index) {
                // What cannot be removed either is told by the next start.
                let _ = fs::remove_file(made);
            }
            let message = format!(
                "cannot write {}: {error}; its folder must be writable for whoever runs the gateway",
                path.display()
            );
            return Err(config.problem(files.position, message).into());
        }
    }
    Ok(Made {
        authority: authority_file,
        cert: files.cert.clone(),
        key: files.key.clone(),
        names,
    })
}

/// Localhost in every form, the public name, and the hosts of the routes.
fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let public = config.gateway.public_url.host_str().unwrap_or("localhost");
    let hosts = config.routes.iter().flat_map(|route| &route.hosts);
    let hosts = hosts.map(|host| match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    });
    for name in std::iter::once(public.to_owned()).chain(hosts) {
        let name = name.trim_matches(['[', ']']).to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Authority, certificate and key, in PEM form. The authority's key ends with this function.
fn sign(names: &[String]) -> Result<(String, String, String), rcgen::Error> {
    let now = Clock::default().now();
    let from = now - std::time::Duration::from_secs(24 * 60 * 60);
    let until = now + std::time::Duration::from_secs(VALID_DAYS * 24 * 60 * 60);

    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "Portcullis development CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.not_before = from.into();
    authority.not_after = until.into();
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name
        .push(DnType::CommonName, "Portcullis development");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.not_before = from.into();
    leaf.not_after = until.into();
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &authority)?;
    Ok((authority.pem(), cert.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    disk::make_folders(path, 0o755)?;
    disk::write_new(path, text.as_bytes(), mode)
}
