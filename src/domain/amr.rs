//! How people have proven who they are (RFC 8176).

use std::fmt;

use crate::domain::Malformed;

/// The `amr` of a session: one method or several, in the order in which they were used; none for a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amr(Vec<String>);

impl Amr {
    /// By a password (RFC 8176 §2).
    pub fn password() -> Self {
        Self(vec!["pwd".to_owned()])
    }

    /// Reads the form that [`fmt::Display`] writes: words of `a` to `z`, digits, `_` and `-`, separated by
    /// blanks.
    ///
    /// # Errors
    ///
    /// Where it has another form.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let is_method = |word: &&str| (1..=32).contains(&word.len()) && word.bytes().all(legal);
        let words: Vec<&str> = text.split(' ').filter(|_| !text.is_empty()).collect();
        if words.iter().all(is_method) {
            Ok(Self(words.into_iter().map(str::to_owned).collect()))
        } else {
            Err(Malformed("a method is a short word such as `pwd`"))
        }
    }

    /// The methods.
    pub fn methods(&self) -> &[String] {
        &self.0
    }

    /// The authentication context (OpenID Connect Core §2, `acr`): the number of factors, `1` or `2`.
    pub fn context(&self) -> &'static str {
        if self.0.len() > 1 { "2" } else { "1" }
    }
}

impl fmt::Display for Amr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_read_back() {
        for text in ["", "pwd", "pwd otp"] {
            assert_eq!(Amr::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Amr::parse("pwd").unwrap(), Amr::password());
        assert_eq!(Amr::password().context(), "1");
        assert_eq!(Amr::parse("pwd otp").unwrap().context(), "2");
        for bad in [" ", "pwd ", "p  o", "PWD", "a\n", "a,b"] {
            assert!(Amr::parse(bad).is_err(), "{bad:?}");
        }
    }
}
