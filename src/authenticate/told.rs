//! The values of an identity's headers, made once per verified token.

use http::HeaderValue;

use crate::domain::Subject;
use crate::token::verify::Claims;

/// What an app may be told about a caller; `None` where there is nothing to tell.
#[derive(Debug)]
pub struct Told {
    /// The username, or the verified address, or the id. Never for a machine.
    pub user: Option<HeaderValue>,
    /// The `sub`.
    pub user_id: Option<HeaderValue>,
    /// The name, percent-encoded outside printable ASCII.
    pub name: Option<HeaderValue>,
    /// The verified address.
    pub email: Option<HeaderValue>,
    /// Roles, separated by commas.
    pub roles: Option<HeaderValue>,
    /// Scopes, separated by blanks.
    pub scopes: Option<HeaderValue>,
    /// The `sid`.
    pub session: Option<HeaderValue>,
    /// How the caller proved it.
    pub method: Option<HeaderValue>,
    /// The OAuth client, where it is not the gateway itself.
    pub client: Option<HeaderValue>,
}

impl Told {
    /// Values come from restricted alphabets (SECURITY 16); one that still were no header value
    /// would not be told.
    pub(super) fn new(claims: &Claims) -> Self {
        let roles: Vec<&str> = claims.roles.iter().map(|role| role.as_str()).collect();
        let person = match &claims.subject {
            Subject::User(user) => Some(user.to_string()),
            Subject::Client(_) => None,
        };
        let user = person.and_then(|id| match &claims.preferred_username {
            Some(name) => value(name),
            None => value(&id),
        });
        Self {
            user,
            user_id: value(&claims.subject.to_string()),
            name: claims
                .name
                .as_ref()
                .and_then(|name| value(&percent_encode(name.as_str()))),
            email: claims
                .email
                .as_ref()
                .and_then(|email| value(email.as_str())),
            roles: (!roles.is_empty())
                .then(|| value(&roles.join(",")))
                .flatten(),
            scopes: (!claims.scopes.is_empty())
                .then(|| value(&claims.scopes.to_string()))
                .flatten(),
            session: value(&claims.session.to_string()),
            method: match &claims.subject {
                Subject::User(_) => claims.methods.first().and_then(|method| value(method)),
                Subject::Client(_) => value("client"),
            },
            client: (!claims.client.is_first_party())
                .then(|| value(claims.client.as_str()))
                .flatten(),
        }
    }
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// UTF-8 with every byte outside printable ASCII, and `%` itself, as `%XX` (RFC 3986 §2.1). It is what
/// `grpc-message` wants as well.
pub fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 16
    #[test]
    fn names_are_percent_encoded() {
        assert_eq!(percent_encode("Ann O'Neill"), "Ann O'Neill");
        assert_eq!(
            percent_encode("Özgür 100%\r\n"),
            "%C3%96zg%C3%BCr 100%25%0D%0A"
        );
    }
}
