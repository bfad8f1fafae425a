//! A development certificate, for the first minute: signed by an authority that is made for it
//! alone and whose private key is never written anywhere.

use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::bail;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::clock::Clock;
use crate::config::CertificateFiles;
use crate::config::Config;
use crate::config::HostPattern;
use crate::config::ListenerKind;
use crate::disk;

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

/// Makes the first certificate where its files are missing and it may be made up: every listener
/// on loopback, or `dev`.
///
/// # Errors
///
/// Where one is missing and may not be made up, where only one of the two files is there, where a
/// file cannot be written.
pub fn make_missing(config: &Config, dev: bool) -> anyhow::Result<Option<Made>> {
    let tls = |listener: &&crate::config::Listener| listener.kind == ListenerKind::Tls;
    if config.listeners.iter().find(tls).is_none() {
        return Ok(None);
    }
    let mut missing = None;
    for files in &config.certificates {
        match (files.cert.exists(), files.key.exists()) {
            (true, true) => {}
            (false, false) if may_be_made_up(config, dev) && missing.is_none() => {
                missing = Some(files);
            }
            (false, false) if missing.is_some() => bail!(
                "there is no certificate at {}; only one of [[certificates]] is made up",
                files.cert.display()
            ),
            (false, false) => bail!(
                "there is no certificate at {}; one is made up only for listeners on loopback, or \
                 with `serve --dev`",
                files.cert.display()
            ),
            (has_cert, _) => {
                let (there, missing) = if has_cert {
                    (&files.cert, &files.key)
                } else {
                    (&files.key, &files.cert)
                };
                bail!(
                    "{} is there but {} is not: bring the missing one, or remove the other and a \
                     new pair is made",
                    there.display(),
                    missing.display()
                );
            }
        }
    }
    missing.map(|files| make(config, files)).transpose()
}

fn may_be_made_up(config: &Config, dev: bool) -> bool {
    let mut listeners = config.listeners.iter();
    dev || listeners.all(|listener| listener.address.ip().is_loopback())
}

fn make(config: &Config, files: &CertificateFiles) -> anyhow::Result<Made> {
    let names = names(config);
    let (authority, cert, key) = sign(&names).context("cannot make a development certificate")?;
    let folder = files.cert.parent().unwrap_or_else(|| Path::new("."));
    let authority_file = folder.join("ca.pem");
    if authority_file.exists() {
        bail!(
            "{} is there but the certificate beside it is not: bring the certificate, or remove the \
             authority and a new one is made with it",
            authority_file.display()
        );
    }
    // The key first: a certificate without its key would look like somebody's mistake.
    write(&files.key, &key, 0o600)?;
    write(&authority_file, &authority, 0o644)?;
    write(&files.cert, &cert, 0o644)?;
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

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let written = (|| -> io::Result<()> {
        disk::make_folders(path, 0o755)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        disk::sync_name(path)
    })();
    written.with_context(|| format!("cannot write {}", path.display()))
}
