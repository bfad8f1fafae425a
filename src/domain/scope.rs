//! Scopes: what a token may do (RFC 6749 §3.3).

use std::fmt;

use crate::domain::Malformed;

/// One scope token: printable ASCII without space, `"` and `\` (RFC 6749 §3.3), at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

impl Scope {
    /// Reads one scope token.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed(
                "a scope has 1 to 64 printable ASCII characters without blanks, '\"' and '\\'",
            ))
        }
    }

    /// Asks for an ID token (OpenID Connect Core §3.1.2.1).
    pub const OPENID: &str = "openid";
    /// Asks for name, username and roles.
    pub const PROFILE: &str = "profile";
    /// Asks for the verified address.
    pub const EMAIL: &str = "email";
    /// Asks for a refresh token that goes on when the person signs out (OpenID Connect Core §11).
    pub const OFFLINE_ACCESS: &str = "offline_access";
    /// What there is without being declared, in the words of the consent page.
    pub const BUILT_IN: [(&str, &str); 4] = [
        (Self::OPENID, "Know that it is you"),
        (Self::PROFILE, "See your name, your username and your roles"),
        (Self::EMAIL, "See your e-mail address"),
        (
            Self::OFFLINE_ACCESS,
            "Keep this access when you have signed out",
        ),
    ];

    /// Whether it is about the person who signs in, so that no machine can hold it.
    pub fn is_of_people(&self) -> bool {
        Self::BUILT_IN.iter().any(|(scope, _)| *scope == self.0)
    }

    /// The scope token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes, sorted, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Reads the space-separated form of a token or request (RFC 6749 §3.3). Empty text is the
    /// empty set; two blanks in a row are not tolerated.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(' ').map(Scope::parse).collect()
    }

    /// Whether the set holds this very scope: whole words, never prefixes (SECURITY 26).
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// As [`Scopes::contains`], of a scope by its name.
    pub fn has(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held.as_str() == scope)
    }

    /// Those that are in `other` as well.
    pub fn within(&self, other: &Self) -> Self {
        let both = self.iter().filter(|scope| other.contains(scope));
        both.cloned().collect()
    }

    /// Those of both.
    pub fn with(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// Whether every scope of `self` is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.contains(scope))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<_> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_match_as_whole_words() {
        let held = Scopes::parse("notes:read profile notes:read").unwrap_or_default();
        let asks = |text: &str| Scopes::parse(text).unwrap_or_default();
        assert!(asks("notes:read").is_subset_of(&held));
        assert!(!asks("notes").is_subset_of(&held));
        assert!(!asks("notes:readx").is_subset_of(&held));
        assert_eq!(held.to_string(), "notes:read profile");
    }

    #[test]
    fn scopes_with_strange_bytes_are_refused() {
        for bad in ["a  b", " a", "a ", "a\tb", "a\"", "a\\", "ä", "a\n"] {
            assert!(Scopes::parse(bad).is_err(), "{bad:?}");
        }
    }
}
