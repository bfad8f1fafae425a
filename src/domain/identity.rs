//! Who somebody is with another provider.

use crate::domain::Malformed;

/// The one lasting name of a person with a provider: its issuer and its `sub` (OpenID Connect Core §5.7).
/// Nothing else that it says tells two people apart, least of all an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    issuer: String,
    subject: String,
}

impl ProviderIdentity {
    /// Takes the issuer as the file writes it, and a `sub`: 1 to 255 ASCII characters (§2), all of them to be
    /// seen.
    ///
    /// # Errors
    ///
    /// Where the `sub` is another.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, Malformed> {
        let visible = subject.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=255).contains(&subject.len()) {
            return Err(Malformed("a subject has 1 to 255 visible ASCII characters"));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_short_word() {
        let made = |subject: &str| ProviderIdentity::new("https://a.example", subject).is_ok();
        assert!(made("248289761001") && made(&"a".repeat(255)));
        for bad in ["", "a b", "ä", "a\n", &"a".repeat(256)] {
            assert!(!made(bad), "{bad:?}");
        }
    }
}
