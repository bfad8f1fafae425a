//! Resources (RFC 8707): what a token can be for, where that is not everything behind the gateway.

use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::domain::Malformed;

/// The identifier of a resource: an absolute URI without a fragment (RFC 8707 §2), kept as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(Arc<str>);

impl Resource {
    /// Reads an identifier. Of an http or https address only the normal form is one: two spellings of
    /// one resource would be two audiences, of which a token has one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "it must be an absolute URI without fragment, such as \"https://api.example.com\"",
        );
        // RFC 3986 §2: whatever else would be percent-encoded; and it is written into headers.
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        if text.len() > LENGTH_MAX || !text.bytes().all(legal) {
            return Err(WRONG);
        }
        let (scheme, rest) = text.split_once(':').ok_or(WRONG)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || rest.is_empty() {
            return Err(WRONG);
        }
        if ["http", "https"]
            .iter()
            .any(|it| scheme.eq_ignore_ascii_case(it))
        {
            let url = Url::parse(text).map_err(|_| WRONG)?;
            let is_normal = bare(url.as_str()) == bare(text) && !url.authority().contains('@');
            if !is_normal {
                return Err(Malformed(
                    "an address is written in its normal form: scheme and host in lower case, no \
                     user, no port that the scheme implies, no dot segments",
                ));
            }
        }
        Ok(Self(text.into()))
    }

    /// An origin of our own, without the slash that [`Url`] writes.
    pub fn of_origin(url: &Url) -> Self {
        Self(bare(url.as_str()).into())
    }

    /// The identifier, as it is written into `aud`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether somebody who asks for `text` means this resource: compared as strings, but an empty path
    /// is the same as `/` (RFC 3986 §6.2.3), and many libraries cannot write it otherwise.
    pub fn is_called(&self, text: &str) -> bool {
        bare(&self.0) == bare(text)
    }

    /// Whether it ends with the slash that stands for an empty path.
    pub fn is_bare(&self) -> bool {
        bare(&self.0) == self.as_str()
    }

    /// Where its metadata is, if it has an address that metadata can be found by.
    pub fn place(&self) -> Option<Place> {
        let url = Url::parse(&self.0).ok()?;
        let is_address = matches!(url.scheme(), "https" | "http") && url.query().is_none();
        let path = match url.path() {
            "/" => "",
            path => path,
        };
        is_address.then_some(())?;
        Some(Place {
            host: url.host_str()?.to_owned(),
            path: path.to_owned(),
            metadata: format!(
                "{}{PROTECTED_RESOURCE}{path}",
                url.origin().ascii_serialization()
            ),
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a resource is, and where its metadata (RFC 9728 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its host: lower case, without a port.
    pub host: String,
    /// Its path; empty where it is a whole host.
    pub path: String,
    /// The address of its metadata: between its host and its path stands what is well known.
    pub metadata: String,
}

/// Between a resource's host and its path (RFC 9728 §3).
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// For whom a token is: its `aud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// For the gateway: for whatever is behind it, as far as the rest of the token goes.
    Gateway,
    /// For one of these resources, and for nothing else (RFC 9700 §4.10.2).
    Resources(Vec<Resource>),
}

impl Audience {
    /// Whether such a token is for a route of this `audience`.
    pub fn admits(&self, route: Option<&Resource>) -> bool {
        match self {
            Self::Gateway => true,
            Self::Resources(named) => route.is_some_and(|route| named.contains(route)),
        }
    }
}

impl From<Option<Resource>> for Audience {
    /// What a session keeps: none is the gateway.
    fn from(resource: Option<Resource>) -> Self {
        match resource {
            None => Self::Gateway,
            Some(resource) => Self::Resources(vec![resource]),
        }
    }
}

/// Without the slash of an empty path.
fn bare(text: &str) -> &str {
    match text.strip_suffix('/') {
        Some(rest)
            if rest
                .split_once("://")
                .is_some_and(|(_, it)| !it.contains(['/', '?'])) =>
        {
            rest
        }
        _ => text,
    }
}

const LENGTH_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_an_absolute_uri_in_its_normal_form() {
        for good in [
            "https://api.example.com",
            "https://api.example.com/",
            "https://api.example.com:8443/v1",
            "https://api.example.com/v1/?tenant=a",
            "http://localhost:8000",
            "https://[::1]/x",
            "urn:example:api",
            "api://5c6f0a1e",
        ] {
            assert_eq!(Resource::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "api.example.com",
            "/v1",
            "//api.example.com",
            "https://",
            "https:",
            "1a:b",
            ":x",
            "https://api.example.com#",
            "https://api.example.com#x",
            "https://api.example.com/a b",
            "https://api.example.com/\"",
            "https://api.example.com/\r\n",
            "https://äpi.example.com",
            "https://API.example.com",
            "HTTPS://api.example.com",
            "https://api.example.com:443",
            "https://u@api.example.com",
            "https://api.example.com/a/../b",
            "https:/api.example.com",
            "https://api.example.com\\",
        ] {
            assert!(Resource::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Resource::parse(&format!("urn:{}", "a".repeat(LENGTH_MAX))).is_err());
    }

    #[test]
    fn an_empty_path_is_a_slash_and_no_other_difference_is_none() {
        let api = Resource::parse("https://api.example.com").unwrap();
        assert!(
            api.is_called("https://api.example.com") && api.is_called("https://api.example.com/")
        );
        for other in [
            "https://api.example.com//",
            "https://api.example.com/v1",
            "https://api.example.com.",
            "https://api.example.com:443",
            "https://API.example.com",
            "http://api.example.com",
            "https://api.example.co",
        ] {
            assert!(!api.is_called(other), "{other}");
        }
        let v1 = Resource::parse("https://api.example.com/v1").unwrap();
        assert!(!v1.is_called("https://api.example.com/v1/"));
    }

    // RFC 9728 §3.1
    #[test]
    fn the_metadata_is_between_host_and_path() {
        let place = |text: &str| Resource::parse(text).unwrap().place();
        let found = place("https://api.example.com:8443/v1/x").unwrap();
        assert_eq!((&*found.host, &*found.path), ("api.example.com", "/v1/x"));
        assert_eq!(
            found.metadata,
            "https://api.example.com:8443/.well-known/oauth-protected-resource/v1/x"
        );
        for bare in ["https://api.example.com", "https://api.example.com/"] {
            assert_eq!(
                place(bare).unwrap().metadata,
                "https://api.example.com/.well-known/oauth-protected-resource"
            );
        }
        for none in ["urn:example:api", "api://x", "https://api.example.com/?a=b"] {
            assert_eq!(place(none), None);
        }
    }

    #[test]
    fn a_token_for_one_resource_is_for_no_other() {
        let resource = |text: &str| Resource::parse(text).unwrap();
        let (one, other) = (
            resource("https://one.example"),
            resource("https://other.example"),
        );
        assert!(Audience::Gateway.admits(None) && Audience::Gateway.admits(Some(&one)));
        let for_one = Audience::from(Some(one.clone()));
        assert!(for_one.admits(Some(&one)));
        assert!(!for_one.admits(Some(&other)) && !for_one.admits(None));
        let for_nothing = Audience::Resources(Vec::new());
        assert!(!for_nothing.admits(Some(&one)) && !for_nothing.admits(None));
    }
}
