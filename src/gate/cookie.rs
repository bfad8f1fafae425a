//! Callers who are known by the cookie of their browser.
//!
//! No app ever sees the cookie (SECURITY 17). A browser sends it along with whatever any page makes it
//! send, so that it alone must never let anything pass that may do harm.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::header;

use crate::authenticate::Identity;
use crate::authenticate::OpaqueSessions;
use crate::config::Auth;
use crate::domain::SessionId;
use crate::gate::Gate;
use crate::gate::answer::Trail;
use crate::gate::credential;
use crate::gate::inbound::Inbound;
use crate::gate::reject::Rejection;
use crate::gate::route::Route;
use crate::gate::site::is_unsafe;
use crate::gate::site::site_of;
use crate::intake::Site;
use crate::token::cookie::OwnCookies;
use crate::token::cookie::SESSION_COOKIE;
use crate::token::cookie::is_own;

impl Gate {
    /// Whose session the cookie is of, where the route asks and nothing else says so. A dead one counts
    /// as absent. What is not remembered is read from the store, behind the door.
    pub(super) async fn known_by_cookie<B>(
        &self,
        route: &Arc<Route>,
        inbound: &Inbound<B>,
        trail: &mut Trail,
    ) -> Result<Option<Identity>, Rejection> {
        route.admit(&inbound.source().address)?;
        if route.config().auth == Auth::None || credential(route, inbound).is_some() {
            return Ok(None);
        }
        let known = match self.named_by_cookie(inbound, trail) {
            None => None,
            Some(session) => self.known_by_session(session).await?,
        };
        trail.dead_cookie = known.is_none();
        trail.by_cookie = known.is_some();
        let may_do_harm = is_unsafe(inbound.method()) || inbound.is_handshake();
        if known.is_some() && may_do_harm && !is_own_page(route, inbound) {
            return Err(Rejection::CrossSite);
        }
        Ok(known)
    }

    /// Which session the cookie names. One that is forged, or of another host, names none; neither do two of
    /// them, of which somebody has slipped one in.
    pub(super) fn named_by_cookie<B>(
        &self,
        inbound: &Inbound<B>,
        trail: &mut Trail,
    ) -> Option<SessionId> {
        let cookies = inbound.own_cookies();
        let cookie = cookies.get(SESSION_COOKIE);
        let host = inbound.host().name();
        let named = cookie.and_then(|cookie| self.sessions.named_by(cookie, host));
        trail.dead_cookie = named.is_none() && cookies.has(SESSION_COOKIE);
        named
    }
}

/// Whether the page that has the browser send this is of the same origin, or of one that the route
/// admits with its user's cookies.
fn is_own_page<B>(route: &Route, inbound: &Inbound<B>) -> bool {
    let mut origins = inbound.headers().get_all(header::ORIGIN).iter();
    let (origin, more) = (origins.next(), origins.next());
    let is_admitted = |origin| {
        let cors = route.cors();
        cors.is_some_and(|cors| cors.admits_with_credentials(origin))
    };
    site_of(inbound) == Site::Same || more.is_none() && origin.is_some_and(is_admitted)
}

/// Takes the cookie away from the browser, unless the answer gives it a new one.
pub(super) fn clear_cookie(headers: &mut HeaderMap) {
    let is_ours = |cookie: &HeaderValue| {
        let rest = cookie.as_bytes().strip_prefix(SESSION_COOKIE.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"="))
    };
    if headers.get_all(header::SET_COOKIE).iter().any(is_ours) {
        return;
    }
    headers.append(header::SET_COOKIE, OpaqueSessions::clear_cookie());
    // A cache may keep an answer with its `Set-Cookie` (RFC 9111 §7.3), and would sign others out with it.
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
}

/// A cache that many share keeps no answer to a request with `Authorization`, unless the answer says so
/// (RFC 9111 §3.5). Of cookies it knows nothing, and neither does the app of who may see what it answers.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    const SAID: [&[u8]; 5] = [
        b"public",
        b"s-maxage",
        b"must-revalidate",
        b"private",
        b"no-store",
    ];
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|directive| directive.split(|byte| *byte == b'=').next())
        .map(<[u8]>::trim_ascii);
    let is_said = directives.any(|name| SAID.iter().any(|said| name.eq_ignore_ascii_case(said)));
    if !is_said {
        let private = HeaderValue::from_static("private");
        headers.append(header::CACHE_CONTROL, private);
    }
}

/// Takes our own cookies out of a request, so that no app sees them (SECURITY 17); the others stay as they
/// are, byte for byte, whatever their alphabet.
pub(super) fn take_own_cookies(headers: &mut HeaderMap) -> OwnCookies {
    let mut own = OwnCookies::default();
    for line in headers.get_all(header::COOKIE) {
        let pairs = line.as_bytes().split(|byte| *byte == b';').map(pair);
        for (name, value) in pairs.filter(|(name, _)| is_own(name)) {
            own.push(name, value);
        }
    }
    if own.is_empty() {
        return own;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| {
            let pairs = line.as_bytes().split(|byte| *byte == b';');
            let others: Vec<_> = pairs.filter(|sent| !is_own(pair(sent).0)).collect();
            let others = others.join(b";".as_slice());
            let others = others.trim_ascii();
            HeaderValue::from_bytes(others)
                .ok()
                .filter(|_| !others.is_empty())
        })
        .collect();
    headers.remove(header::COOKIE);
    for line in kept {
        headers.append(header::COOKIE, line);
    }
    own
}

/// Name and value of a cookie as it is sent (RFC 6265 §4.2.1).
fn pair(sent: &[u8]) -> (&[u8], &[u8]) {
    let at = sent.iter().position(|byte| *byte == b'=');
    let (name, value) = sent.split_at(at.unwrap_or(sent.len()));
    let value = value.strip_prefix(b"=").unwrap_or(value);
    (name.trim_ascii(), value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The session's cookie of these lines, and what is left of them.
    fn taken(lines: &[&str]) -> (Option<String>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(header::COOKIE, line);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let own = take_own_cookies(&mut headers);
        let taken = own.get(SESSION_COOKIE).map(text);
        let left = headers.get_all(header::COOKIE).iter();
        (taken, left.map(|line| text(line.as_bytes())).collect())
    }

    #[track_caller]
    fn check(lines: &[&str], value: Option<&str>, left: &[&str]) {
        let (taken, kept) = taken(lines);
        assert_eq!(
            (taken.as_deref(), kept),
            (value, left.iter().map(|it| (*it).to_owned()).collect())
        );
    }

    // SECURITY 17
    #[test]
    fn the_gateways_own_cookie_is_taken_out_and_no_other() {
        check(&[], None, &[]);
        check(&["a=1;b=2"], None, &["a=1;b=2"]);
        check(&["__Host-portcullis=x"], Some("x"), &[]);
        check(&["__Host-portcullis=x;"], Some("x"), &[]);
        check(&["a=1; __Host-portcullis=x; b=2"], Some("x"), &["a=1; b=2"]);
        check(&["__Host-portcullis=x; b=2"], Some("x"), &["b=2"]);
        check(&["a=1; __Host-portcullis=x"], Some("x"), &["a=1"]);
        check(&["a=é; __Host-portcullis=x"], Some("x"), &["a=é"]);
        check(&["a=1", " __Host-portcullis =x"], Some("x"), &["a=1"]);
        check(&["__Host-portcullis", "b"], Some(""), &["b"]);
        check(&["__Host-portcullis=a=b"], Some("a=b"), &[]);
        let odd = "a=\"1, 2\";b=;c; =d;;e=f g ;__Host-portcullis2=z";
        check(&[odd], None, &[odd]);
        check(&[&format!("{odd};__Host-portcullis=x")], Some("x"), &[odd]);
        let helpers = "__Host-portcullis-form=y; a=1; __host-Portcullis=z";
        check(&[helpers], None, &["a=1"]);
    }

    // SECURITY 17
    #[test]
    fn of_several_none_counts_and_none_is_left() {
        check(
            &["__Host-portcullis=x; a=1; __Host-portcullis=x"],
            None,
            &["a=1"],
        );
        check(&["__Host-portcullis=x", "__Host-portcullis=y"], None, &[]);
    }

    #[test]
    fn a_cookie_is_cleared_where_no_new_one_is_given() {
        let clear = |cookies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
            for cookie in cookies {
                headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
            }
            clear_cookie(&mut headers);
            let count = headers.get_all(header::SET_COOKIE).iter().count();
            (
                count - cookies.len(),
                headers[header::CACHE_CONTROL] == "no-store",
            )
        };
        assert_eq!(clear(&[]), (1, true));
        assert_eq!(clear(&["a=1", "__Host-portcullis-form=x"]), (1, true));
        assert_eq!(clear(&["__Host-portcullis=x; Path=/"]), (0, false));
    }

    #[test]
    fn no_cache_that_many_share_keeps_what_a_cookie_opened() {
        let check = |said: &[&'static str], is_added: bool| {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
            }
            keep_private(&mut headers);
            let lines: Vec<_> = headers.get_all(header::CACHE_CONTROL).iter().collect();
            assert_eq!(lines[..said.len()], *said);
            assert_eq!(
                lines.get(said.len()).is_some_and(|it| *it == "private"),
                is_added
            );
        };
        check(&[], true);
        check(&["max-age=60"], true);
        check(&["max-age=60", "immutable"], true);
        check(&["publicly"], true);
        check(&["max-age=60, Public"], false);
        check(&["max-age=0", "x ,s-maxage=5"], false);
        check(&["no-store"], false);
        check(&["must-revalidate"], false);
        check(&["private=\"x-a\""], false);
    }
}
