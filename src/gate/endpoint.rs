//! Which requests are for our own endpoints. They win on every host.

use http::Method;

use crate::config::OWN_ENDPOINTS;
use crate::config::ROOT_ASSETS;
use crate::config::WELL_KNOWN;
use crate::domain::PROTECTED_RESOURCE;
use crate::gate::path::RequestPath;

/// What kind of own endpoint: the ones that cost a password hash have limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Makes an account.
    Register,
    /// Checks a password.
    Login,
    /// Checks and sets a password.
    Password,
    /// All others.
    Other,
}

/// Where our own endpoints are.
#[derive(Clone, Debug)]
pub struct OwnPaths {
    prefix: Vec<String>,
}

impl OwnPaths {
    /// `prefix` as configured: empty, or `/` and segments.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Whether a request is for us. Compared by decoded segments, as routes are, so that no
    /// spelling of our own paths reaches an app.
    pub fn find(&self, path: &RequestPath, method: &Method) -> Option<Endpoint> {
        let mut segments = path.segments();
        let mut first = segments.next();
        if first.as_deref() == Some(".well-known") {
            let name = format!("/{}", segments.next()?);
            let ours = WELL_KNOWN.iter().any(|own| own.ends_with(&name));
            // Below this one stand paths of resources (RFC 9728 §3.1).
            let may_go_on = PROTECTED_RESOURCE.ends_with(&name);
            return (ours && (may_go_on || segments.next().is_none())).then_some(Endpoint::Other);
        }
        for expected in &self.prefix {
            if first.as_deref() != Some(expected.as_str()) {
                return None;
            }
            first = segments.next();
        }
        let name = first.as_deref().unwrap_or_default();
        if self.prefix.is_empty() && ROOT_ASSETS.strip_prefix('/') == Some(name) {
            return Some(Endpoint::Other);
        }
        if self.prefix.is_empty() && !is_own(path, name) {
            return None;
        }
        Some(match name {
            "register" if *method == Method::POST => Endpoint::Register,
            "login" if *method == Method::POST => Endpoint::Login,
            "password" if *method == Method::POST => Endpoint::Password,
            _ => Endpoint::Other,
        })
    }
}

/// At the root everything but our own is an app's, `/oauth/protected` as well. `first` is the first
/// segment: of nearly every request it decides alone.
fn is_own(path: &RequestPath, first: &str) -> bool {
    let begins = |own: &&&str| own.split('/').next() == Some(first);
    let mut candidates = OWN_ENDPOINTS.iter().filter(begins);
    candidates.any(|own| {
        let mut sent = path.segments();
        own.split('/').all(|own| {
            sent.next()
                .is_some_and(|sent| sent == own || own.starts_with('{'))
        }) && sent.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, path: &str, expected: Option<Endpoint>) {
        let path = RequestPath::check(path.parse().unwrap()).unwrap();
        assert_eq!(OwnPaths::new(prefix).find(&path, &Method::POST), expected);
    }

    #[test]
    fn own_paths_are_found_in_every_spelling() {
        check("/auth", "/auth/login", Some(Endpoint::Login));
        check("/auth", "/%61uth/%6cogin", Some(Endpoint::Login));
        check("/auth", "/auth", Some(Endpoint::Other));
        check("/auth", "/auth/nothing/here", Some(Endpoint::Other));
        check("/auth", "/authors", None);
        check("/auth", "/login", None);
        check("/a/b", "/a/b/register", Some(Endpoint::Register));
        check("/a/b", "/a", None);
        check("", "/login", Some(Endpoint::Login));
        check("", "/login/x", None);
        check("", "/oauth/token", Some(Endpoint::Other));
        check("", "/oauth/%74oken", Some(Endpoint::Other));
        check("", "/oauth/protected", None);
        check("", "/oauth/token/x", None);
        check("", "/oauth", None);
        check("", "/portcullis-assets/x", Some(Endpoint::Other));
        check("", "/portcullis-assetsx", None);
        check("", "/assets/x", None);
        check("/auth", "/portcullis-assets/x", None);
        check("", "/sessions", Some(Endpoint::Other));
        check("", "/sessions/0190", Some(Endpoint::Other));
        check("", "/sessions/0190/x", None);
        check("", "/", None);
        check("", "/notes", None);
        check("/auth", "/.well-known/jwks.json", Some(Endpoint::Other));
        check(
            "/auth",
            "/.well-known/openid-configuration",
            Some(Endpoint::Other),
        );
        check("/auth", "/.well-known/jwks.json/x", None);
        check("/auth", "/.well-known/acme-challenge/x", None);
        let resource = "/.well-known/oauth-protected-resource";
        check("/auth", resource, Some(Endpoint::Other));
        check("/auth", &format!("{resource}/v1/x"), Some(Endpoint::Other));
        check("/auth", &format!("{resource}s"), None);
    }
}
