//! The way to the sign-in page, for browsers that go where somebody must be signed in.
//!
//! The page is on `public_url`, whatever a request says about its host; how to come back stands in the
//! address, and nothing is kept here. On another host a cookie is left, so that only the browser that was sent
//! away can come back signed in.

use std::sync::Arc;

use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::authenticate::Unauthenticated;
use crate::config::Gateway;
use crate::config::OnUnauthenticated;
use crate::config::OwnHosts;
use crate::gate::answer::AnswerBody;
use crate::gate::answer::Trail;
use crate::gate::inbound::Inbound;
use crate::gate::navigation::is_visit;
use crate::gate::reject::Rejection;
use crate::gate::route::Route;
use crate::page::Link;
use crate::token::binding;
use crate::token::binding::Binding;
use crate::token::cookie::BINDING_COOKIE;

/// Where the sign-in page is, and which hosts it leads back to.
#[derive(Debug)]
pub struct SignInPage {
    url: String,
    hosts: Arc<OwnHosts>,
}

/// What browsers, proxies and our own listeners take without asking; a page with a longer address is
/// forgotten on the way.
const LOCATION_BYTES_MAX: usize = 8 * 1024;

impl SignInPage {
    /// As a file says.
    pub fn new(gateway: &Gateway, hosts: Arc<OwnHosts>) -> Self {
        let url = hosts.public(&format!("{}/login", gateway.prefix));
        Self { url, hosts }
    }

    /// A link to it, for whoever cannot be sent there.
    pub(super) fn link(&self) -> Link {
        Link {
            text: "Sign in".to_owned(),
            url: self.url.clone(),
        }
    }

    /// What becomes of a request that nobody vouches for: it goes to sign in where its route has it so.
    ///
    /// # Errors
    ///
    /// The same refusal, for all others.
    pub(super) fn instead_of<B>(
        &self,
        rejection: Rejection,
        route: &Route,
        inbound: &Inbound<B>,
        trail: &mut Trail,
    ) -> Result<Response<AnswerBody>, Rejection> {
        let is_absent = matches!(
            rejection,
            Rejection::Unauthenticated(Unauthenticated::Absent)
        );
        let is_sent = match route.config().on_unauthenticated {
            OnUnauthenticated::Auto => is_visit(inbound),
            OnUnauthenticated::Redirect => {
                inbound.method() == Method::GET && !inbound.is_handshake()
            }
            OnUnauthenticated::Refuse => false,
        };
        if !is_absent || !is_sent {
            return Err(rejection);
        }
        trail.sign_in = true;
        Ok(self.redirect(inbound))
    }

    /// 303: whatever was asked for is asked for again, and with GET.
    fn redirect<B>(&self, inbound: &Inbound<B>) -> Response<AnswerBody> {
        let target = inbound.path().target().as_str();
        let host = inbound.host().name();
        let is_elsewhere = self.hosts.has(host) && !self.hosts.is_public(host);
        // A route for any host is one for that of `public_url` too.
        let back = match is_elsewhere {
            true => self.hosts.url(host, target),
            false => self.hosts.public(target),
        };
        // As browsers write it: in ASCII.
        let back = Url::parse(&back).map(String::from).unwrap_or_default();
        let back: String = byte_serialize(back.as_bytes()).collect();
        let mut location = format!("{}?return_to={back}", self.url);
        if location.len() > LOCATION_BYTES_MAX {
            location.clone_from(&self.url);
        }
        let mut response = Response::new(AnswerBody::empty());
        if is_elsewhere {
            let known = Binding::known_by(inbound.own_cookies().get(BINDING_COOKIE));
            let browser = known.unwrap_or_else(Binding::fresh);
            let separator = if location.contains('?') { '&' } else { '?' };
            let hash = binding::written(browser.hash());
            location.push_str(&format!("{separator}{}={hash}", Binding::NAME));
            let headers = response.headers_mut();
            headers.append(header::SET_COOKIE, browser.set_cookie());
        }
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        if let Ok(location) = HeaderValue::try_from(location) {
            headers.insert(header::LOCATION, location);
        }
        // Nobody keeps it, so that it need not say on which headers it depends (RFC 9111 §4.1).
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, no_store);
        response
    }
}
