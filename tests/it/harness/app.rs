//! An app that signs people in through the gateway, as a client of OAuth without a library.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::Value;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

/// A verifier and its challenge: the example of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// One client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App {
    pub(crate) id: &'static str,
    pub(crate) secret: Option<&'static str>,
    pub(crate) redirect_uri: &'static str,
}

impl App {
    /// A good request for these scopes. `more` replaces what it names; an empty value leaves it out.
    pub(crate) fn request(&self, scope: &str, more: &[(&str, &str)]) -> String {
        let mut said: Vec<(&str, &str)> = vec![
            ("response_type", "code"),
            ("client_id", self.id),
            ("redirect_uri", self.redirect_uri),
            ("scope", scope),
            ("state", "xyz"),
            ("nonce", "n-0S6"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        said.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        said.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(said)
            .finish();
        format!("/auth/oauth/authorize?{query}")
    }

    /// Asks at the token endpoint, with the secret in the header or the id in the form.
    pub(crate) async fn token(&self, caller: &Caller, form: &[(&str, &str)]) -> Answer {
        self.ask(caller, "token", form).await
    }

    /// Asks one of the endpoints that clients prove themselves at.
    pub(crate) async fn ask(
        &self,
        caller: &Caller,
        endpoint: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        let request = caller.request(Method::POST, &format!("/auth/oauth/{endpoint}"));
        let request = match self.secret {
            Some(secret) => {
                let joined = STANDARD.encode(format!("{}:{secret}", self.id));
                let request = request.header("authorization", format!("Basic {joined}"));
                request.form_of(form)
            }
            None => request.form_of(&[form, &[("client_id", self.id)]].concat()),
        };
        Answer::of(request).await
    }

    /// Redeems a code.
    pub(crate) async fn redeem(&self, caller: &Caller, code: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        self.token(caller, &form).await
    }

    /// Renews.
    pub(crate) async fn refresh(&self, caller: &Caller, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.token(caller, &form).await
    }

    /// A code for whoever is signed in, who allows it if they are asked.
    pub(crate) async fn code(&self, person: &Person, scope: &str) -> String {
        let answer = person.open(&self.request(scope, &[])).await;
        let answer = if answer.status == 200 {
            let form = answer.form("/auth/oauth/consent");
            person.submit(&form, &[("decision", "allow")]).await
        } else {
            answer
        };
        said(&answer.expect(303))["code"].clone()
    }

    /// Tokens for whoever is signed in.
    pub(crate) async fn tokens(&self, caller: &Caller, person: &Person, scope: &str) -> Value {
        let code = self.code(person, scope).await;
        self.redeem(caller, &code).await.expect(200).json()
    }
}

/// What a client is told by a redirect; each name once.
#[track_caller]
pub(crate) fn said(answer: &Answer) -> BTreeMap<String, String> {
    let location = answer.header("location");
    let (_, query) = location
        .split_once('?')
        .unwrap_or_else(|| panic!("{location}"));
    let mut told = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let before = told.insert(name.into_owned(), value.into_owned());
        assert_eq!(before, None, "{location}");
    }
    told
}

/// The claims of a JWT, unverified.
#[track_caller]
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
