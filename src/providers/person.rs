//! Who somebody is by a provider's word, in the alphabets of our own (SECURITY 16).

use serde_json::Map;
use serde_json::Value;

use crate::config;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::ProviderIdentity;
use crate::domain::Role;
use crate::domain::Username;
use crate::token::verify::claim_at;
use crate::token::verify::claim_seconds;
use crate::token::verify::claim_words;

/// Somebody who signed in with a provider. What does not fit our alphabets is left out.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who.
    pub identity: ProviderIdentity,
    /// What they are called there, for their own account page.
    pub shown: String,
    /// An address that the provider says it has verified. Any other says nothing.
    pub email: Option<EmailAddress>,
    /// What they might be called here.
    pub username: Option<Username>,
    /// What they are called.
    pub name: Option<DisplayName>,
    /// The roles that the provider gives; sorted, without repeats.
    pub roles: Vec<Role>,
    /// When they have shown the provider who they are, in seconds since the epoch, as far as it says so.
    pub authenticated_at: Option<u64>,
}

impl Person {
    /// Reads an ID token's claims, and those of the userinfo endpoint where the token leaves them out.
    /// Nothing where it does not say who it is.
    pub(super) fn read(
        config: &config::Provider,
        token: &Map<String, Value>,
        userinfo: &Map<String, Value>,
    ) -> Option<Self> {
        let said = |name: &str| {
            let claim = token.get(name).or_else(|| userinfo.get(name));
            claim.and_then(Value::as_str)
        };
        let subject = token.get("sub").and_then(Value::as_str)?;
        let identity = ProviderIdentity::new(&config.url, subject).ok()?;
        // Both of one source: what one says is not verified by the other.
        let source = if token.contains_key("email") {
            token
        } else {
            userinfo
        };
        let is_verified = source.get("email_verified") == Some(&Value::Bool(true));
        let email = source.get("email").and_then(Value::as_str);
        let email = email.and_then(|email| EmailAddress::parse(email).ok());
        let username = said("preferred_username").and_then(|name| Username::parse(name).ok());
        let email = email.filter(|_| is_verified);
        let shown = match (&email, &username) {
            (Some(email), _) => email.to_string(),
            (None, Some(username)) => username.to_string(),
            (None, None) => subject.chars().take(64).collect(),
        };
        let words = claim_at(token, &config.roles_claim)
            .or_else(|| claim_at(userinfo, &config.roles_claim));
        let words: Vec<&str> = claim_words(words).collect();
        let given = config.roles.iter();
        let given = given.filter(|(word, _)| words.contains(&word.as_str()));
        let mut roles: Vec<Role> = given.flat_map(|(_, roles)| roles.clone()).collect();
        roles.sort_unstable();
        roles.dedup();
        Some(Self {
            identity,
            shown,
            email,
            username,
            name: said("name").and_then(|name| DisplayName::parse(name).ok()),
            roles,
            authenticated_at: token.get("auth_time").and_then(claim_seconds),
        })
    }

    /// `allow_domains`
    pub(super) fn is_admitted(&self, config: &config::Provider) -> bool {
        let domain = self.email.as_ref().map(EmailAddress::folded);
        let domain = domain.as_deref().and_then(|email| email.rsplit_once('@'));
        let allowed = &config.allow_domains;
        allowed.is_empty()
            || domain.is_some_and(|(_, domain)| allowed.iter().any(|allowed| allowed == domain))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::SecretString;
    use serde_json::json;

    use super::*;

    fn provider() -> config::Provider {
        let role = |name| Role::parse(name).unwrap();
        config::Provider {
            name: Arc::from("corp"),
            url: Arc::from("https://login.example"),
            client_id: "gate".to_owned(),
            client_secret: SecretString::from("s"),
            label: "Corp".to_owned(),
            scopes: Vec::new(),
            create_accounts: false,
            allow_domains: vec!["corp.example".to_owned()],
            roles_claim: vec!["realm".to_owned(), "groups".to_owned()],
            roles: vec![
                ("grafana-admins".to_owned(), vec![role("admin")]),
                ("staff".to_owned(), vec![role("viewer"), role("editor")]),
            ],
            algorithms: Vec::new(),
            trust: config::UpstreamTrust::System,
            position: config::Position::default(),
        }
    }

    fn read(token: &Value, userinfo: &Value) -> Option<Person> {
        let object = |value: &Value| value.as_object().unwrap().clone();
        Person::read(&provider(), &object(token), &object(userinfo))
    }

    fn roles(token: &Value) -> Vec<String> {
        let person = read(token, &json!({})).unwrap();
        person.roles.iter().map(Role::to_string).collect()
    }

    #[test]
    fn only_an_address_that_the_same_source_has_verified_is_one() {
        let email = |token: Value, userinfo: Value| {
            let person = read(&token, &userinfo).unwrap();
            person.email.map(|email| email.to_string())
        };
        let good = json!({"sub": "1", "email": "a@corp.example", "email_verified": true});
        let a = Some("a@corp.example".to_owned());
        assert_eq!(email(good.clone(), json!({})), a);
        assert_eq!(email(json!({"sub": "1"}), good.clone()), a);
        for verified in [json!(false), json!("true"), json!(1), Value::Null] {
            let mut bad = good.clone();
            bad["email_verified"] = verified;
            assert_eq!(email(bad, good.clone()), None);
        }
        let bare = json!({"sub": "1", "email": "b@corp.example"});
        assert_eq!(email(bare, good), None);
    }

    #[test]
    fn roles_are_those_that_the_file_gives_for_a_word() {
        let with = |groups: Value| json!({"sub": "1", "realm": {"groups": groups}});
        assert_eq!(
            roles(&with(json!(["staff", "admin"]))),
            ["editor", "viewer"]
        );
        assert_eq!(roles(&with(json!("grafana-admins other"))), ["admin"]);
        assert_eq!(roles(&with(json!({"admin": true}))), [""; 0]);
        assert_eq!(roles(&json!({"sub": "1", "roles": ["admin"]})), [""; 0]);
    }

    #[test]
    fn somebody_has_a_subject_and_what_fits_of_the_rest() {
        assert!(read(&json!({}), &json!({"sub": "1"})).is_none());
        assert!(read(&json!({"sub": "a b"}), &json!({})).is_none());
        let odd = json!({"sub": "1", "preferred_username": "a\r\nb", "name": "a\u{202e}b"});
        let person = read(&odd, &json!({})).unwrap();
        assert_eq!((person.username, person.name), (None, None));
        assert_eq!(person.shown, "1");
    }

    #[test]
    fn only_people_of_the_domains_that_are_allowed_come_in() {
        let admitted = |email: &str, verified: bool| {
            let token = json!({"sub": "1", "email": email, "email_verified": verified});
            read(&token, &json!({})).unwrap().is_admitted(&provider())
        };
        assert!(admitted("a@corp.example", true) && admitted("a@CORP.example", true));
        assert!(!admitted("a@corp.example", false));
        assert!(!admitted("a@sub.corp.example", true));
        assert!(!admitted("a@corp.example.evil.example", true));
    }
}
