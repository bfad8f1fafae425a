//! What a form or a query says: names and values, each name once.
//!
//! Two parties that read a repeated name in two ways are a way in, so that it is refused.

use std::collections::HashMap;

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

    /// Reads a query.
    ///
    /// # Errors
    ///
    /// Where it says something twice.
    pub fn of_query(query: Option<&str>) -> Result<Self, NoFields> {
        Self::parse(query.unwrap_or_default().as_bytes())
    }

    fn parse(bytes: &[u8]) -> Result<Self, NoFields> {
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            // Which is what stands for bytes that are none.
            if value.contains('\u{fffd}') || name.contains('\u{fffd}') {
                return Err(NoFields::NotUtf8);
            }
            let repeated = fields.insert(name.clone().into_owned(), value.into_owned());
            if repeated.is_some() {
                return Err(NoFields::Repeated(name.chars().take(64).collect()));
            }
        }
        Ok(Self(fields))
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
        let fields = |query| Fields::of_query(Some(query));
        let mut read = fields("a=1&b=%C3%A9+x&c=").ok().unwrap();
        assert_eq!(read.get("a"), Some("1"));
        assert_eq!(read.take("b").as_deref(), Some("é x"));
        assert_eq!(read.get("b"), None);
        assert_eq!(read.get("c"), None);
        let repeated = NoFields::Repeated("a".to_owned());
        assert_eq!(fields("a=1&b=2&%61=").err(), Some(repeated));
        assert_eq!(fields("a=%ff").err(), Some(NoFields::NotUtf8));
        assert!(Fields::of_query(None).ok().unwrap().get("a").is_none());
    }
}
