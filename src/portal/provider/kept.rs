//! What a browser keeps for us while its person is with a provider, or proves an account: one cookie, sealed,
//! for ten minutes.
//!
//! It is what ties an answer to the browser that was sent away (SECURITY 34): somebody else's answer, put into
//! a link, finds no such cookie. It must never hold a token.

use std::time::Duration;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::unix_seconds;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::ProviderIdentity;
use crate::domain::Role;
use crate::domain::SessionId;
use crate::domain::Username;
use crate::providers::Person;
use crate::providers::Ties;
use crate::token::cookie;
use crate::token::cookie::PROVIDER_COOKIE;
use crate::token::verify::Verifier;
use crate::vault::Vault;

/// How long somebody may take.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// Browsers drop a cookie that is larger than 4096 bytes with all that belongs to it.
const COOKIE_BYTES_MAX: usize = 4000;

/// Somebody was sent to a provider.
#[derive(Serialize, Deserialize)]
pub(super) struct Away {
    /// To which.
    pub(super) provider: String,
    pub(super) ties: Ties,
    /// Where they go on to afterwards, as a query of ours.
    pub(super) goal: String,
    /// The session that the provider is to be connected with; none for a sign-in.
    connect: Option<String>,
    until: u64,
}

/// Somebody came back, and must prove an account.
#[derive(Serialize, Deserialize)]
pub(super) struct Unproven {
    /// From which.
    pub(super) provider: String,
    /// The address of the account.
    pub(super) email: String,
    pub(super) goal: String,
    person: Words,
    until: u64,
}

/// A [`Person`], written down.
#[derive(Serialize, Deserialize)]
struct Words {
    issuer: String,
    subject: String,
    shown: String,
    email: Option<String>,
    username: Option<String>,
    name: Option<String>,
    roles: Vec<String>,
}

impl Away {
    pub(super) fn new(
        provider: &str,
        goal: String,
        connect: Option<SessionId>,
        now: SystemTime,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            ties: Ties::fresh(),
            goal,
            connect: connect.map(|session| session.to_string()),
            until: unix_seconds(now + KEPT),
        }
    }

    /// The session that the provider is to be connected with.
    pub(super) fn connects(&self) -> Option<SessionId> {
        SessionId::parse(self.connect.as_deref()?).ok()
    }

    /// When somebody has shown who they are who is back `now`, where the provider says that it was `said`. If
    /// it was on this way there, it was just now, by our clock; a provider may as well know them from long ago
    /// (OpenID Connect Core §2, `auth_time`).
    pub(super) fn authenticated_at(&self, said: Option<u64>, now: SystemTime) -> SystemTime {
        let begun = self.until.saturating_sub(KEPT.as_secs());
        let earliest = begun.saturating_sub(Verifier::LEEWAY.as_secs());
        match said.filter(|said| *said < earliest) {
            Some(said) => SystemTime::UNIX_EPOCH + Duration::from_secs(said),
            None => now,
        }
    }

    /// `Set-Cookie`; none where it would be too large.
    pub(super) fn cookie(&self, vault: &Vault) -> Option<HeaderValue> {
        seal(vault, Self::LABEL, self)
    }

    /// What a browser kept.
    pub(super) fn read(vault: &Vault, cookie: Option<&[u8]>, now: SystemTime) -> Option<Self> {
        let kept: Self = open(vault, Self::LABEL, cookie)?;
        (unix_seconds(now) < kept.until).then_some(kept)
    }

    const LABEL: &'static str = "away with a provider";
}

impl Unproven {
    pub(super) fn new(
        provider: &str,
        email: &EmailAddress,
        person: &Person,
        goal: String,
        now: SystemTime,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            email: email.to_string(),
            goal,
            person: Words::of(person),
            until: unix_seconds(now + KEPT),
        }
    }

    /// Who it is.
    pub(super) fn person(&self) -> Option<Person> {
        self.person.read()
    }

    /// `Set-Cookie`; none where it would be too large.
    pub(super) fn cookie(&self, vault: &Vault) -> Option<HeaderValue> {
        seal(vault, Self::LABEL, self)
    }

    /// What a browser kept.
    pub(super) fn read(vault: &Vault, cookie: Option<&[u8]>, now: SystemTime) -> Option<Self> {
        let kept: Self = open(vault, Self::LABEL, cookie)?;
        (unix_seconds(now) < kept.until).then_some(kept)
    }

    const LABEL: &'static str = "account to be proven";
}

/// `Set-Cookie` that takes it away.
pub(super) fn clear_cookie() -> HeaderValue {
    cookie::taken_away(PROVIDER_COOKIE)
}

fn seal(vault: &Vault, label: &str, kept: &impl Serialize) -> Option<HeaderValue> {
    let plain = serde_json::to_vec(kept).ok()?;
    let value = URL_SAFE_NO_PAD.encode(vault.seal(label, &plain));
    let cookie = cookie::given(PROVIDER_COOKIE, &value, Some(KEPT));
    (cookie.len() <= COOKIE_BYTES_MAX).then_some(cookie)
}

fn open<T: DeserializeOwned>(vault: &Vault, label: &str, cookie: Option<&[u8]>) -> Option<T> {
    let sealed = URL_SAFE_NO_PAD.decode(cookie?).ok()?;
    let plain = vault.open(label, &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}

impl Words {
    fn of(person: &Person) -> Self {
        Self {
            issuer: person.identity.issuer().to_owned(),
            subject: person.identity.subject().to_owned(),
            shown: person.shown.clone(),
            email: person.email.as_ref().map(EmailAddress::to_string),
            username: person.username.as_ref().map(Username::to_string),
            name: person.name.as_ref().map(|name| name.as_str().to_owned()),
            roles: person.roles.iter().map(Role::to_string).collect(),
        }
    }

    fn read(&self) -> Option<Person> {
        let parsed = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(Person {
            identity: ProviderIdentity::new(&self.issuer, &self.subject).ok()?,
            shown: self.shown.clone(),
            email: EmailAddress::parse(&parsed(&self.email)).ok(),
            username: Username::parse(&parsed(&self.username)).ok(),
            name: DisplayName::parse(&parsed(&self.name)).ok(),
            roles: self
                .roles
                .iter()
                .filter_map(|role| Role::parse(role).ok())
                .collect(),
            // Whoever proves an account does so now.
            authenticated_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn value(cookie: &HeaderValue) -> Vec<u8> {
        let text = cookie.to_str().unwrap();
        let (pair, _) = text.split_once(';').unwrap();
        let (_, value) = pair.split_once('=').unwrap();
        value.as_bytes().to_vec()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    // SECURITY 34
    #[test]
    fn what_a_browser_keeps_is_ours_and_lasts_ten_minutes() {
        let vault = Vault::for_test();
        let session = SessionId::new(Uuid::from_u128(7));
        let away = Away::new("corp", "return_to=%2Fapp".to_owned(), Some(session), at(0));
        let sent = value(&away.cookie(&vault).unwrap());
        let read = |vault: &Vault, sent: &[u8], seconds| Away::read(vault, Some(sent), at(seconds));
        let kept = read(&vault, &sent, 599).unwrap();
        assert_eq!(kept.provider, "corp");
        assert_eq!(kept.ties.state, away.ties.state);
        assert_eq!(kept.connects(), Some(session));
        assert!(read(&vault, &sent, 600).is_none());
        assert!(read(&Vault::for_test(), &sent, 0).is_none());
        assert!(read(&vault, &sent[1..], 0).is_none());
        assert!(Away::read(&vault, None, at(0)).is_none());
        // One kind is not taken for the other.
        assert!(Unproven::read(&vault, Some(&sent), at(0)).is_none());
    }

    // SECURITY 45
    #[test]
    fn whoever_was_known_there_already_has_not_signed_in_just_now() {
        let away = Away::new("corp", String::new(), None, at(100));
        let seconds = |said: Option<u64>| {
            let said = said.map(|said| unix_seconds(at(0)) - 100 + said);
            let shown = away.authenticated_at(said, at(130));
            unix_seconds(shown) + 100 - unix_seconds(at(0))
        };
        assert_eq!(seconds(None), 230);
        assert_eq!(seconds(Some(20)), 20);
        assert_eq!(seconds(Some(169)), 169);
        // On this way, by a clock that is a little behind, or ahead.
        for said in [170, 220, 400] {
            assert_eq!(seconds(Some(said)), 230);
        }
        let now = at(130);
        assert_eq!(away.authenticated_at(Some(0), now), SystemTime::UNIX_EPOCH);
        assert_eq!(away.authenticated_at(Some(u64::MAX), now), now);
    }

    #[test]
    fn a_person_reads_back() {
        let person = Person {
            identity: ProviderIdentity::new("https://a.example", "1").unwrap(),
            shown: "a@b.example".to_owned(),
            email: EmailAddress::parse("a@b.example").ok(),
            username: None,
            name: DisplayName::parse("Älice").ok(),
            roles: vec![Role::parse("admin").unwrap()],
            authenticated_at: None,
        };
        let read = Words::of(&person).read().unwrap();
        assert_eq!(format!("{read:?}"), format!("{person:?}"));
    }

    #[test]
    fn what_no_browser_would_keep_is_not_sent() {
        let vault = Vault::for_test();
        let cookie = |length| Away::new("corp", "x".repeat(length), None, at(0)).cookie(&vault);
        assert!(cookie(2000).is_some());
        assert!(cookie(4000).is_none());
    }
}
