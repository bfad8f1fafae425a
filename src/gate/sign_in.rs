//! The way to the sign-in page, for browsers that go where somebody must be signed in.
//!
//! The page is on `public_url`, whatever a request says about its host; how to come back stands in the
//! address, and nothing is kept here. On another host a cookie is left, so that only the browser that was sent
//! away can come back signed in.

use std::sync::Arc;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::authenticate::Unauthenticated;
use crate::config::Gateway;
use crate::config::OnUnauthenticated;
use crate::config::OwnHosts;
use crate::gate::answer::AnswerBody;
use crate::gate::inbound::Inbound;
use crate::gate::navigation::is_visit;
use crate::gate::reject::Rejection;
use crate::gate::route::Route;
use crate::page::Link;
use crate::problem::Problem;
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

    /// What becomes of a request that nobody vouches for: it goes to sign in where its route has it so; all
    /// others are refused as they were.
    pub(super) fn instead_of<B>(
        &self,
        rejection: Rejection,
        route: &Route,
        inbound: &Inbound<B>,
    ) -> Rejection {
        let Rejection::Unauthenticated(Unauthenticated::Absent) = rejection else {
            return rejection;
        };
        let is_sent = match route.config().on_unauthenticated {
            OnUnauthenticated::Auto => is_visit(inbound),
            OnUnauthenticated::Redirect => {
                inbound.method() == Method::GET && !inbound.is_handshake()
            }
            OnUnauthenticated::Refuse => false,
        };
        if is_sent {
            Rejection::SignIn(Box::new(self.departure(inbound)))
        } else {
            rejection
        }
    }

    fn departure<B>(&self, inbound: &Inbound<B>) -> Departure {
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
        let mut query = Serializer::new(String::new());
        query.append_pair("return_to", &back);
        let known = Binding::known_by(inbound.own_cookies().get(BINDING_COOKIE));
        let browser = is_elsewhere.then(|| known.unwrap_or_else(Binding::fresh));
        if let Some(browser) = &browser {
            query.append_pair(Binding::NAME, &binding::written(browser.hash()));
        }
        let location = format!("{}?{}", self.url, query.finish());
        let location = Some(location).filter(|location| location.len() <= LOCATION_BYTES_MAX);
        let location = HeaderValue::try_from(location.as_ref().unwrap_or(&self.url));
        Departure {
            location: location.unwrap_or(HeaderValue::from_static("/")),
            cookie: browser.map(|browser| browser.set_cookie()),
        }
    }
}

/// The way to the sign-in page and back, for one browser.
#[derive(Clone, Debug)]
pub struct Departure {
    location: HeaderValue,
    cookie: Option<HeaderValue>,
}

impl Departure {
    /// 303: whatever was asked for is asked for with GET.
    pub(super) fn response(&self) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().extend(self.headers());
        // Nobody keeps it, so that it need not say on which headers it depends (RFC 9111 §4.1).
        let no_store = HeaderValue::from_static("no-store");
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, no_store);
        response
    }

    /// The same, for a proxy that asks in a browser's place.
    pub(super) fn problem(&self) -> Problem {
        let detail = "Sign in at the address in Location, which leads back here.";
        let problem = Problem::new(StatusCode::SEE_OTHER, "unauthenticated", detail);
        let headers = self.headers();
        headers.fold(problem, |problem, (name, value)| {
            problem.with_header(name, value)
        })
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let cookie = self.cookie.clone();
        let cookie = cookie.map(|cookie| (header::SET_COOKIE, cookie));
        [(header::LOCATION, self.location.clone())]
            .into_iter()
            .chain(cookie)
    }
}
