//! Users, and the alphabets of everything about them that can reach a header.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::Malformed;

/// The stable, never reused id of a user: the `sub` of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Uuid);

impl UserId {
    /// Takes a fresh UUIDv7, or one read back from the store.
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// Reads the hyphenated form of RFC 9562 §4 and nothing else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse_hyphenated(text)
            .map(Self)
            .ok_or(Malformed("a user id is a UUID in its hyphenated form"))
    }

    /// The id as a UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// One spelling per id: `uuid` itself would also read braces, URNs and bare digits.
pub(crate) fn parse_hyphenated(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (id.as_hyphenated().encode_lower(&mut buffer) == text).then_some(id)
}

/// A name to sign in with, kept as it was written and compared without regard to case.
///
/// ASCII letters, digits, `.`, `_` and `-`, starting with a letter or digit, 1 to 64 characters.
/// The alphabet is small on purpose: it goes into headers that apps trust, and it leaves no room
/// for look-alikes and invisible characters (SECURITY 16 and 32). It holds no `@`, so a username
/// can never be another person's e-mail address, and no `:`, so it can never be `client:ID`. It is
/// no UUID however spelt: apps are told the id of whoever has no name, and that is another person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Reads a username; the error says what the alphabet is.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || text.len() > 64 || !text.bytes().all(legal) {
            return Err(Malformed(
                "a username has 1 to 64 ASCII letters, digits, '.', '_' or '-' and starts with a letter or digit",
            ));
        }
        if Uuid::try_parse(text).is_ok() {
            return Err(Malformed("a username cannot look like the id of a user"));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What uniqueness is judged by.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address of the plain kind: an ASCII dot-atom, `@`, and a domain name (RFC 5321 §4.1.2
/// without quoted strings, comments and address literals), at most 254 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address; quoted local parts and internationalised addresses are refused.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "an e-mail address looks like name@example.com, in ASCII, with at most 254 characters",
        );
        let (local, domain) = text.rsplit_once('@').ok_or(WRONG)?;
        let atom =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        let local_ok = (1..=64).contains(&local.len())
            && local.bytes().all(atom)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let domain_ok = domain.contains('.') && domain.split('.').all(label_ok);
        if text.len() <= 254 && local_ok && domain_ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(WRONG)
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What uniqueness is judged by: no mail provider worth the name tells case apart.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an account is named by a person: at sign-in, on the command line or in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handle {
    /// By id.
    Id(UserId),
    /// By username, compared folded.
    Username(Username),
    /// By address, compared folded.
    Email(EmailAddress),
}

impl Handle {
    /// Reads what a person types: an address has an `@`, an id is a UUID, the rest is a username.
    ///
    /// # Errors
    ///
    /// Where it can be none of the three.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('@') {
            return EmailAddress::parse(text).map(Self::Email);
        }
        UserId::parse(text)
            .map(Self::Id)
            .or_else(|_| Username::parse(text).map(Self::Username))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Username(username) => username.fmt(f),
            Self::Email(email) => email.fmt(f),
        }
    }
}

/// What a person is called: any printable Unicode, 1 to 128 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a name; control characters, line and paragraph separators and characters that show
    /// nothing (bidirectional overrides, zero-width, fillers) are refused.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.chars().count() > 128 || hides_something(text) {
            Err(Malformed(
                "a name has 1 to 128 printable characters, none of them invisible",
            ))
        } else {
            Ok(Self(trimmed.to_owned()))
        }
    }

    /// As it was written, without the blanks around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A variation selector shows in the character before it (`❤️`), and a joiner in those around it, as
/// Persian names and many emoji need. Anywhere else they hide, as all others do.
fn hides_something(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let shows = |at: Option<usize>| {
        let character = at.and_then(|at| characters.get(at));
        character.is_some_and(|character| !character.is_ascii() && !is_hidden(*character))
    };
    let after_a_selector = |at: usize| {
        let before = at.checked_sub(1);
        match before.and_then(|before| characters.get(before)) {
            Some('\u{FE0E}' | '\u{FE0F}') => shows(at.checked_sub(2)),
            _ => shows(before),
        }
    };
    let hides = |(at, character): (usize, &char)| match character {
        '\u{FE0E}' | '\u{FE0F}' => !shows(at.checked_sub(1)),
        '\u{200C}' | '\u{200D}' => !(after_a_selector(at) && shows(Some(at + 1))),
        other => is_hidden(*other),
    };
    characters.iter().enumerate().any(hides)
}

/// Whether a character shows nothing or steers others: controls, separators of lines and
/// paragraphs, the `Default_Ignorable_Code_Point`s of Unicode, the empty Braille pattern, and
/// U+FFF9 to U+FFFF.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFF}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// A role: what a user may do. ASCII letters, digits, `_`, `-`, `.` and `:`, 1 to 64 characters,
/// so that a comma can separate several in one header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(String);

impl Role {
    /// Reads a role.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed(
                "a role has 1 to 64 ASCII letters, digits, '_', '-', '.' or ':'",
            ))
        }
    }

    /// The role's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account as the store keeps it, without its password.
#[derive(Clone, Debug)]
pub struct User {
    /// Stable id.
    pub id: UserId,
    /// At least one of username and e-mail address is there.
    pub username: Option<Username>,
    /// An address is an identity only once [`User::email_verified`].
    pub email: Option<EmailAddress>,
    /// Whether the person has shown to own the address.
    pub email_verified: bool,
    /// What the person is called.
    pub name: Option<DisplayName>,
    /// Sorted, without repeats.
    pub roles: Vec<Role>,
    /// A disabled account signs in nowhere and its sessions are ended.
    pub disabled: bool,
    /// Grows with every change that tokens must not outlive (roles, names, address): a token that
    /// carries an older one is refused and the caller refreshes.
    pub version: u64,
    /// When the account was made.
    pub created_at: SystemTime,
}

impl User {
    /// All that the person is called: a password should hold none of it.
    pub fn names(&self) -> Vec<&str> {
        let username = self.username.as_ref().map(Username::as_str);
        let email = self.email.as_ref().map(EmailAddress::as_str);
        let name = self.name.as_ref().map(DisplayName::as_str);
        [username, email, name].into_iter().flatten().collect()
    }

    /// What an app is told the caller is called: the username; without one the verified e-mail
    /// address; else the stable id.
    pub fn preferred_username(&self) -> String {
        match (&self.username, &self.email) {
            (Some(username), _) => username.to_string(),
            (None, Some(email)) if self.email_verified => email.to_string(),
            _ => self.id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 16 and 32
    #[test]
    fn usernames_have_a_small_alphabet() {
        for good in ["a", "alice", "Alice.B-9_x", &"a".repeat(64)] {
            assert!(Username::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " alice",
            "a b",
            "a@b",
            "client:x",
            "-a",
            ".a",
            "а",
            "a\u{200b}",
            "a\n",
            "a\0",
            "\u{ff41}lice",
            "AL\u{130}CE",
            "\u{212a}im",
            "\u{17f}am",
            "e\u{301}",
            &"a".repeat(65),
        ] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    // SECURITY 32
    #[test]
    fn usernames_are_nobodys_id() {
        let id = UserId::new(Uuid::from_u128(0x0198_c0de_7000_8000_dead_beef_0000_0007));
        let hyphenated = id.to_string();
        let simple = id.uuid().as_simple().to_string();
        for bad in [
            &hyphenated,
            &hyphenated.to_uppercase(),
            &simple,
            &simple.to_uppercase(),
        ] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
        for good in [
            &simple[..31],
            &format!("{simple}0"),
            &format!("x{}", &simple[1..]),
        ] {
            assert!(Username::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn email_addresses_are_of_the_plain_kind() {
        for good in ["a@b.co", "first.last+tag@mail.example.com"] {
            assert!(EmailAddress::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a@@b.co",
            "a b@c.de",
            "a@b..co",
            ".a@b.co",
            "a.@b.co",
            "a..b@c.de",
            "a@-b.co",
            "a@[127.0.0.1]",
            "ä@b.co",
            "a@b.co\r\nX: y",
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad:?}");
        }
    }

    // SECURITY 32
    #[test]
    fn names_may_be_unicode_but_not_invisible() {
        for good in [
            "Ann",
            "Ünal Özgür",
            "王小明",
            "  trimmed  ",
            "Ann \u{2764}\u{fe0f}",
            "علی\u{200c}رضا",
            "\u{1f469}\u{200d}\u{1f4bb}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
        ] {
            assert!(DisplayName::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "   ",
            "a\u{202e}b",
            "a\nb",
            "a\u{200b}",
            "\u{3164}",
            "a\u{2800}",
            "a\u{115f}",
            "a\u{fe0f}",
            "\u{fe0f}",
            "\u{2764}\u{fe0f}\u{fe0f}",
            "\u{fe00}",
            "\u{200d}",
            "a\u{200d}b",
            "王\u{200d}",
            "\u{200c}王",
            "a\u{34f}",
            "a\u{feff}",
            "a\0",
            "a\u{85}",
            &"x".repeat(129),
        ] {
            assert!(DisplayName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        let id = UserId::new(Uuid::from_u128(7));
        assert_eq!(UserId::parse(&id.to_string()), Ok(id));
        assert!(UserId::parse("{00000000-0000-0000-0000-000000000007}").is_err());
        assert!(UserId::parse("00000000000000000000000000000007").is_err());
    }
}
