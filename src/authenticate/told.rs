//! The values of an identity's headers, made once per verified token.

use bytes::Bytes;
use http::HeaderValue;

use crate::domain::EmailAddress;
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
    ///
    /// All of them are pieces of one text: of a hundred thousand callers nobody's is in the processor's
    /// cache, and every piece of memory costs a wait.
    pub(super) fn new(claims: &Claims) -> Self {
        let subject = claims.subject.to_string();
        let roles: Vec<&str> = claims.roles.iter().map(|role| role.as_str()).collect();
        let roles = roles.join(",");
        let scopes = claims.scopes.to_string();
        let session = claims.session.map(|session| session.to_string());
        let name = claims.name.as_ref();
        let name = name.map(|name| percent_encode(name.as_str()));
        let (user, method) = match &claims.subject {
            Subject::User(_) => (
                claims.preferred_username.as_deref().or(Some(&subject)),
                match claims.client.is_personal() {
                    true => Some("personal_token"),
                    false => claims.methods.first().map(String::as_str),
                },
            ),
            Subject::Client(_) => (None, Some("client")),
            // `NAME:alice`: neither a username nor an address holds a `:`, so that nobody of ours is meant.
            Subject::Outside(_) => (claims.preferred_username.as_deref(), Some("outside")),
        };
        let client = (!claims.client.is_first_party()).then(|| claims.client.as_str());
        let said = [
            user,
            Some(&*subject),
            name.as_deref(),
            claims.email.as_ref().map(EmailAddress::as_str),
            Some(&*roles).filter(|roles| !roles.is_empty()),
            Some(&*scopes).filter(|scopes| !scopes.is_empty()),
            session.as_deref(),
            method,
            client,
        ];
        let text: String = said.into_iter().flatten().collect();
        let mut rest = Bytes::from(text);
        let [
            user,
            user_id,
            name,
            email,
            roles,
            scopes,
            session,
            method,
            client,
        ] = said.map(|said| HeaderValue::from_maybe_shared(rest.split_to(said?.len())).ok());
        Self {
            user,
            user_id,
            name,
            email,
            roles,
            scopes,
            session,
            method,
            client,
        }
    }
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
