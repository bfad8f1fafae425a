//! A [`Permit`] and an [`Inbound`] become a request to the app, and its response the answer.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::Uri;
use http::Version;
use http::header;
use http_body_util::BodyExt as _;

use crate::authenticate::Caller;
use crate::body::BodyError;
use crate::body::RequestBody;
use crate::body::ResponseBody;
use crate::config::Target;
use crate::gate::Gate;
use crate::gate::answer::AnswerBody;
use crate::gate::answer::Trail;
use crate::gate::headers::change;
use crate::gate::inbound::Inbound;
use crate::gate::inbound::WebSocket;
use crate::gate::reject::Rejection;
use crate::gate::route::Permit;
use crate::gate::route::Unrouted;
use crate::gate::streams::Lease;
use crate::gate::strip::nominated_by_connection;
use crate::gate::tunnel::Tunnel;
use crate::token::cookie::is_own;
use crate::upstream::Answer;
use crate::upstream::GoBack;
use crate::upstream::Party;
use crate::upstream::UpstreamError;

impl Gate {
    /// Sends the request that [`Gate::outbound`] made for this permit to its app.
    pub(super) async fn forward(
        &self,
        permit: &Permit,
        party: Party,
        request: Box<Request<RequestBody>>,
        trail: &mut Trail,
    ) -> Result<Response<AnswerBody>, Rejection> {
        let upstream = match permit.target() {
            Target::Echo => return Box::pin(echo(permit, request)).await,
            Target::Verify => return Err(Unrouted::VerifyOnly.into()),
            Target::Upstream(index) => self.upstreams.get(*index),
        };
        let upstream = upstream.ok_or(UpstreamError::Unreachable)?;
        let progress = request.body().progress();
        let started = Instant::now();
        let sent = upstream.send(request, party).await;
        let response = sent.map_err(|error| {
            // The upstream only failed because the client's body did.
            let body = progress.error().map(Rejection::Body);
            body.unwrap_or(Rejection::Upstream(error))
        })?;
        trail.upstream = Some(started.elapsed());
        begun(response)
            .await
            .map(|response| answer(permit, response))
    }

    /// Sends a handshake, and opens a tunnel where the app agrees.
    pub(super) async fn open_tunnel(
        &self,
        permit: &Permit,
        party: Party,
        mut request: Box<Request<RequestBody>>,
        websocket: WebSocket,
        trail: &mut Trail,
    ) -> Result<Response<AnswerBody>, Rejection> {
        let WebSocket { handshake, client } = websocket;
        handshake.complete(request.headers_mut());
        let upstream = match permit.target() {
            Target::Echo => return echo(permit, request).await,
            Target::Verify => return Err(Unrouted::VerifyOnly.into()),
            Target::Upstream(index) => self.upstreams.get(*index),
        };
        let upstream = upstream.ok_or(UpstreamError::Unreachable)?;
        let started = Instant::now();
        let answered = upstream.switch(request, party).await?;
        trail.upstream = Some(started.elapsed());
        let (response, app) = match answered {
            Answer::Plain(response) => {
                return begun(response)
                    .await
                    .map(|response| answer(permit, response));
            }
            Answer::Switched(response, app) => (response, app),
        };
        let (mut parts, ()) = response.into_parts();
        if !handshake.is_answered_by(&parts) {
            return Err(UpstreamError::Invalid.into());
        }
        strip_response(&mut parts.headers);
        change(
            &mut parts.headers,
            &permit.route().config().response_headers,
        );
        handshake.complete_answer(&mut parts);
        let tunnel = Tunnel::new(client, app, upstream.stream_idle_timeout());
        Ok(Response::from_parts(parts, AnswerBody::tunnel(tunnel)))
    }

    /// The request as the app will get it: one framing, ours (SECURITY 1).
    pub(super) fn outbound(
        &self,
        permit: &Permit,
        mut inbound: Box<Inbound>,
    ) -> Result<Box<Request<RequestBody>>, Rejection> {
        let bytes_max = permit.route().config().body_bytes_max;
        let mut headers = inbound.take_headers();
        if inbound.version() == Version::HTTP_2 {
            join_cookies(&mut headers);
            say_length_once(&mut headers);
        }
        self.headers.complete(&mut headers, permit, &inbound);
        let method = inbound.method().clone();
        let target = permit.target_for_app(inbound.path())?;
        let mut body = RequestBody::new(inbound.into_body(), bytes_max, self.body_timeout)?;
        if let Caller::Known(identity) = permit.caller() {
            body = body.until(|| Lease::new(&self.streams, identity).into_cut());
        }
        // It is large and moves from hand to hand, hence the box.
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Looks once at the body, without waiting: where the app broke off right behind its header, there is
/// still time to say so.
async fn begun(
    mut response: Response<ResponseBody<GoBack>>,
) -> Result<Response<ResponseBody<GoBack>>, Rejection> {
    let body = response.body_mut();
    let has_begun = poll_fn(|context| Poll::Ready(body.peek(context))).await;
    has_begun.map_err(|_| UpstreamError::Invalid)?;
    Ok(response)
}

fn answer(permit: &Permit, response: Response<ResponseBody<GoBack>>) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    strip_response(&mut parts.headers);
    change(
        &mut parts.headers,
        &permit.route().config().response_headers,
    );
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, AnswerBody::upstream(body))
}

/// HTTP/2 may split `Cookie` into several fields; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(b"; ".as_slice()))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// h2 lets the same length pass twice; an app may not (SECURITY 1).
fn say_length_once(headers: &mut HeaderMap) {
    if let Some(length) = headers.get(header::CONTENT_LENGTH).cloned() {
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

/// What an app may not say to a client: hop-by-hop fields, and our own cookies. Most answers have
/// none of it, and one look at the names costs less than asking for each.
fn strip_response(headers: &mut HeaderMap) {
    if headers.keys().any(is_hop_by_hop) {
        let mut doomed = nominated_by_connection(headers);
        doomed.extend(headers.keys().filter(|name| is_hop_by_hop(name)).cloned());
        for name in doomed {
            headers.remove(name);
        }
    }
    // A browser that takes a cookie without a name sends back what is behind the '='.
    let ours = |cookie: &HeaderValue| {
        let cookie = cookie.as_bytes().trim_ascii_start();
        let cookie = cookie.strip_prefix(b"=").unwrap_or(cookie);
        let name = cookie
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        is_own(name.trim_ascii())
    };
    if headers.get_all(header::SET_COOKIE).iter().any(ours) {
        let kept: Vec<_> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|cookie| !ours(cookie))
            .cloned()
            .collect();
        headers.remove(header::SET_COOKIE);
        for cookie in kept {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "keep-alive"
            | "proxy-connection"
    )
}

/// How much of a body the echo shows.
const ECHO_BODY_BYTES_MAX: usize = 64 * 1024;

/// `upstream = "echo"`: the very request that an app would get, as JSON. What the file keeps secret
/// is for an app, not for its callers.
async fn echo(
    permit: &Permit,
    request: Box<Request<RequestBody>>,
) -> Result<Response<AnswerBody>, Rejection> {
    let (parts, body) = request.into_parts();
    let body = collect(body).await?;
    let mut headers = serde_json::Map::new();
    for name in parts.headers.keys() {
        let values: Vec<_> = parts.headers.get_all(name).iter().map(text).collect();
        headers.insert(name.as_str().to_owned(), values.join(", ").into());
    }
    let shown = serde_json::json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut text = format!("{shown:#}");
    text.push('\n');
    let mut response = Response::new(AnswerBody::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    change(
        response.headers_mut(),
        &permit.route().config().response_headers,
    );
    Ok(response)
}

async fn collect(body: RequestBody) -> Result<Bytes, BodyError> {
    let progress = body.progress();
    let limited = http_body_util::Limited::new(body, ECHO_BODY_BYTES_MAX);
    let collected = limited.collect().await;
    collected
        .map(|body| body.to_bytes())
        .map_err(|_| progress.error().unwrap_or(BodyError::TooLarge))
}

fn text(value: &HeaderValue) -> String {
    if value.is_sensitive() {
        return "(a secret)".to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    // SECURITY 17
    #[test]
    fn an_app_cannot_set_the_gateways_cookie() {
        let mut response = headers(&[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "__Host-portcullis=forged; Path=/"),
            ("set-cookie", "=__Host-portcullis=forged; Path=/"),
            ("set-cookie", " __host-Portcullis =forged; Path=/"),
            ("set-cookie", "__Host-portcullis-form=forged"),
            ("set-cookie", "__Host-portcullis2=fine"),
        ]);
        strip_response(&mut response);
        let left: Vec<_> = response.get_all("set-cookie").iter().collect();
        assert_eq!(left, ["a=1; Path=/", "__Host-portcullis2=fine"]);
    }

    #[test]
    fn hop_by_hop_fields_of_a_response_stay_behind() {
        let mut response = headers(&[
            ("connection", "close, X-Internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
        ]);
        strip_response(&mut response);
        assert_eq!(response.len(), 1);
    }

    #[test]
    fn cookies_of_http2_become_one() {
        let mut request = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut request);
        assert_eq!(
            request.get_all("cookie").iter().collect::<Vec<_>>(),
            ["a=1; b=2"]
        );
    }
}
