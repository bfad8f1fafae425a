//! What a form or a query says: names and values, each name once.
//!
//! Two parties that read a repeated name in two ways are a way in, so that it is refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use http::header;

use crate::intake::Sent;

/// Names and values (`application/x-www-form-urlencoded`).
#[derive(Default)]
pub struct Fields(HashMap<String, String>);

/// Why a body or query cannot be read as fields.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFields {
    /// Another media type, another charset, or a coding.
    #[error("Send the parameters as application/x-www-form-urlencoded.")]
    Kind,
    /// Bytes that are no text.
    #[error("A parameter is not UTF-8.")]
    NotUtf8,
    /// The same name again.
    #[error("The parameter {0:?} is there more than once.")]
    Repeated(String),
}

impl NoFields {
    /// Whether it is about one of these names, or may be.
    pub fn is_about(&self, names: &[&str]) -> bool {
        match self {
            Self::Repeated(name) => names.contains(&name.as_str()),
            Self::Kind | Self::NotUtf8 => true,
        }
    }
}

impl Fields {
    /// The media type of a form.
    pub const FORM: &'static str = "application/x-www-form-urlencoded";

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// Where it is no form, or says something twice.
    pub fn of_body(sent: &Sent) -> Result<Self, NoFields> {
        if !sent.is(Self::FORM) || sent.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(NoFields::Kind);
        }
        Self::parse(&sent.body)
    }

    /// Reads a query, and says what is wrong with it: for whoever has to know whom to tell. Of a
    /// repeated name the first value counts.
    pub fn with_fault(query: &str) -> (Self, Option<NoFields>) {
        let mut fields = HashMap::new();
        let mut fault = None;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // Which is what stands for bytes that are none.
            if value.contains('\u{fffd}') || name.contains('\u{fffd}') {
                fault.get_or_insert(NoFields::NotUtf8);
            }
            match fields.entry(name.into_owned()) {
                Entry::Vacant(place) => {
                    place.insert(value.into_owned());
                }
                Entry::Occupied(place) => {
                    let name = place.key().chars().take(64).collect();
                    fault.get_or_insert(NoFields::Repeated(name));
                }
            }
        }
        (Self(fields), fault)
    }

    fn parse(bytes: &[u8]) -> Result<Self, NoFields> {
        let text = std::str::from_utf8(bytes).map_err(|_| NoFields::NotUtf8)?;
        match Self::with_fault(text) {
            (fields, None) => Ok(fields),
            (_, Some(fault)) => Err(fault),
        }
    }

    /// A value; one that is empty is one that was not sent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// The same, and it is gone from here.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 41
    #[test]
    fn every_name_is_there_once() {
        let (mut read, fault) = Fields::with_fault("a=1&b=%C3%A9+x&c=");
        assert_eq!(fault, None);
        assert_eq!(read.get("a"), Some("1"));
        assert_eq!(read.take("b").as_deref(), Some("é x"));
        assert_eq!(read.get("b"), None);
        assert_eq!(read.get("c"), None);
        let (read, fault) = Fields::with_fault("a=1&b=2&%61=3&b=");
        assert_eq!(fault, Some(NoFields::Repeated("a".to_owned())));
        assert_eq!(read.get("a"), Some("1"));
        assert_eq!(Fields::with_fault("a=%ff").1, Some(NoFields::NotUtf8));
        assert!(Fields::parse(b"a=1&a=1").is_err());
        assert!(Fields::parse(b"a=\xff").is_err());
    }
}
