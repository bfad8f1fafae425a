//! Our own requests to others: keys and documents of outside issuers.
//!
//! One request, one connection, one deadline for all of it. It speaks https, and http to loopback alone;
//! it follows no redirect, asks no proxy, and reads no more than an answer may have. It must never be
//! handed an address that a token or a caller chose.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::Host;
use url::Url;

use crate::certificates;
use crate::certificates::CertificateError;
use crate::config::UpstreamTrust;

/// From the name's lookup to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer. Whoever publishes a hundred keys needs a tenth of it.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Another scheme, http to another machine, or an address with a user in it.
    #[error("the address must be https://, or http:// to loopback, and name no user")]
    Insecure,
    /// The name, the connection or TLS.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    /// It broke off, or what came is not HTTP.
    #[error("its answer is not HTTP: {0}")]
    Broken(#[from] hyper::Error),
    /// [`DEADLINE`]
    #[error("it did not answer within 5 s")]
    Late,
    /// Anything but 200; a redirect is not followed.
    #[error("it answered {0}; 200 is expected, and redirects are not followed")]
    Status(StatusCode),
    /// [`BODY_BYTES_MAX`], or it broke off.
    #[error("its answer broke off or is larger than 1 MiB")]
    Body,
    /// Another media type, or not JSON after all.
    #[error("its answer is not JSON that calls itself so")]
    NotJson,
}

/// A JSON document, and for how long whoever gave it says that it is good.
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub json: Value,
    /// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1); zero where it must not be kept.
    pub max_age: Option<Duration>,
}

/// A client that believes certain authorities. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound(..)")
    }
}

impl Outbound {
    /// Reads the authorities; where the file says nobody is asked, those of the system are.
    ///
    /// # Errors
    ///
    /// Where a file cannot be used.
    pub fn new(trust: &UpstreamTrust) -> Result<Self, CertificateError> {
        let authorities = match trust {
            UpstreamTrust::File { path, .. } => certificates::authorities(path)?,
            UpstreamTrust::System | UpstreamTrust::Nobody => certificates::system_authorities(),
        };
        let mut tls = ClientConfig::builder_with_provider(Arc::new(certificates::provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls) })
    }

    /// GETs a JSON document.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub async fn get(&self, url: &Url) -> Result<Document, OutboundError> {
        timeout(DEADLINE, self.exchange(url))
            .await
            .map_err(|_| OutboundError::Late)?
    }

    async fn exchange(&self, url: &Url) -> Result<Document, OutboundError> {
        // RFC 9110 §4.2.4: it would be sent along, and the log would keep it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Insecure);
        }
        let host = url.host().ok_or(OutboundError::Insecure)?;
        let name = match &host {
            Host::Domain(name) => (*name).to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(OutboundError::Insecure),
        };
        let port = url.port_or_known_default().ok_or(OutboundError::Insecure)?;
        let stream = connect(&name, port, is_secure).await?;
        let request = request(url)?;
        if !is_secure {
            return read(send(stream, request).await?).await;
        }
        let name = ServerName::try_from(name)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await?;
        read(send(stream, request).await?).await
    }
}

/// The first address that takes the connection; one that says nothing leaves time for the others. Without
/// TLS only this machine is asked, whatever its name.
async fn connect(host: &str, port: u16, is_secure: bool) -> Result<TcpStream, OutboundError> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    if !is_secure && !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(OutboundError::Insecure);
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    let part = DEADLINE / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(late) => failed = late.into(),
        }
    }
    Err(failed.into())
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, OutboundError> {
    let target = url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    );
    Request::get(target)
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "portcullis")
        .body(Empty::new())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error).into())
}

/// An answer, and the task that reads it: both end together.
struct Answer {
    response: Response<Incoming>,
    _task: AbortOnDropHandle<()>,
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, OutboundError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // What went wrong is told to whoever waits for the answer.
        let _ = connection.await;
    });
    let task = AbortOnDropHandle::new(task);
    let response = sender.send_request(request).await?;
    Ok(Answer {
        response,
        _task: task,
    })
}

async fn read(answer: Answer) -> Result<Document, OutboundError> {
    let (parts, body) = answer.response.into_parts();
    if parts.status != StatusCode::OK {
        return Err(OutboundError::Status(parts.status));
    }
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if !text(header::CONTENT_TYPE).is_some_and(is_json) {
        return Err(OutboundError::NotJson);
    }
    let max_age = text(header::CACHE_CONTROL).and_then(max_age);
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| OutboundError::Body)?.to_bytes();
    let json = serde_json::from_slice(&body).map_err(|_| OutboundError::NotJson)?;
    Ok(Document { json, max_age })
}

/// `application/json`, or a format that is made of it, such as `application/jwk-set+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let mut directives = cache_control.split(',').map(str::trim);
    directives.find_map(|directive| {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
        {
            return Some(Duration::ZERO);
        }
        let (name, value) = directive.split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age")
            .then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_calls_itself_json_is_read() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/jwk-set+json",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/html", "text/json", "application/jsonp"] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn how_long_an_answer_is_good_is_read_from_its_directives() {
        let seconds = |text| max_age(text).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=300"), Some(300));
        assert_eq!(seconds("Max-Age=\"60\", must-revalidate"), Some(60));
        assert_eq!(seconds("no-store, max-age=300"), Some(0));
        assert_eq!(seconds("public"), None);
        assert_eq!(seconds("max-age=soon"), None);
    }
}
