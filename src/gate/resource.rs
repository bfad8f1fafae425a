//! The resource that a route belongs to, as refusals name it (RFC 9728 §5.1): a client that has no good
//! token learns where it is told whom to ask for one.
//!
//! It is named only to whom the resource's own address has led: a client must not believe metadata of any
//! other (RFC 9728 §3.3).

use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::domain::Place;
use crate::domain::Resource;
use crate::problem::Problem;

/// A resource that has metadata.
#[derive(Debug)]
pub struct DescribedResource {
    place: Place,
}

impl DescribedResource {
    /// None where the identifier is not an address.
    pub fn of(resource: &Resource) -> Option<Self> {
        Some(Self {
            place: resource.place()?,
        })
    }

    /// Whether a request is for it: the same host, the same path or one below.
    pub fn covers(&self, host: &str, path: &str) -> bool {
        let below = path.strip_prefix(self.place.path.as_str());
        host == self.place.host && below.is_some_and(|it| it.is_empty() || it.starts_with('/'))
    }

    /// Names its metadata at the end of each challenge for a bearer token.
    pub fn name_in(&self, problem: &mut Problem) {
        let is_bearer = |(name, value): &&mut (HeaderName, HeaderValue)| {
            *name == header::WWW_AUTHENTICATE && value.as_bytes().starts_with(b"Bearer")
        };
        let metadata = format!(", resource_metadata=\"{}\"", self.place.metadata);
        for (_, challenge) in problem.headers.iter_mut().filter(is_bearer) {
            let named = [challenge.as_bytes(), metadata.as_bytes()].concat();
            if let Ok(named) = HeaderValue::from_bytes(&named) {
                *challenge = named;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_its_own_address_belongs_to_a_resource() {
        let described = |text: &str| {
            let resource = Resource::parse(text).unwrap();
            DescribedResource::of(&resource).unwrap()
        };
        let (host, path) = (
            described("https://api.example.com"),
            described("https://api.example.com/v1"),
        );
        assert!(host.covers("api.example.com", "/") && host.covers("api.example.com", "/v2/x"));
        assert!(path.covers("api.example.com", "/v1") && path.covers("api.example.com", "/v1/x"));
        for (other, below) in [
            ("api.example.com", "/v10"),
            ("api.example.com", "/"),
            ("api.example.com", "/V1"),
            ("example.com", "/v1"),
        ] {
            assert!(!path.covers(other, below), "{other}{below}");
        }
        assert!(!host.covers("example.com", "/"));
    }
}
