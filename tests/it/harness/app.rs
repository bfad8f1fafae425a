//! Apps that sign people in through the gateway, as clients of OAuth without a library.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::Value;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

/// A verifier and its challenge: the example of RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Keeps a secret, asks people.
pub(crate) const NOTES: App = App {
    id: "notes-web",
    secret: Some("Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa"),
    redirect_uri: "https://notes.example.com/callback",
};
/// Another such.
pub(crate) const OTHER: App = App {
    id: "other-web",
    secret: Some("b7Q1sD4fG9hJ2kL6zX3cV8nM5wE0rTyU"),
    redirect_uri: "https://other.example.com/callback?app=other",
};
/// Of the house: asks nobody.
pub(crate) const HOUSE: App = App {
    id: "house",
    secret: Some("m4Tz8Qw1Lk6Vb3Nc9Xs5Dh2Gj7Rf0PyE"),
    redirect_uri: "https://house.example.com/cb",
};
/// On people's own machines.
pub(crate) const NATIVE: App = App {
    id: "native",
    secret: None,
    redirect_uri: "http://127.0.0.1/cb",
};
/// For administrators alone.
pub(crate) const STAFF: App = App {
    id: "staff",
    secret: Some("w9Hn2Kd7Ls4Pf1Zx6Cv8Bm3Qt5Ry0UgJ"),
    redirect_uri: "https://staff.example.com/cb",
};

pub(crate) const LINES: &str = r#"
    [clients.notes-web]
    name = "Notes"
    secret = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa"
    redirect_uris = ["https://notes.example.com/callback", "https://notes.example.com/other"]
    scopes = ["openid", "profile", "email", "offline_access", "notes:read", "notes:write"]
    grants = ["authorization_code", "refresh_token"]
    [clients.other-web]
    secret = "b7Q1sD4fG9hJ2kL6zX3cV8nM5wE0rTyU"
    redirect_uris = ["https://other.example.com/callback?app=other"]
    scopes = ["openid", "notes:read"]
    grants = ["authorization_code", "refresh_token"]
    [clients.house]
    secret = "m4Tz8Qw1Lk6Vb3Nc9Xs5Dh2Gj7Rf0PyE"
    redirect_uris = ["https://house.example.com/cb"]
    scopes = ["openid", "profile", "notes:read"]
    grants = ["authorization_code"]
    consent = "skip"
    [clients.native]
    public = true
    redirect_uris = ["http://127.0.0.1/cb", "com.example.notes:/cb"]
    scopes = ["openid", "offline_access", "notes:read"]
    grants = ["authorization_code", "refresh_token"]
    [clients.staff]
    secret = "w9Hn2Kd7Ls4Pf1Zx6Cv8Bm3Qt5Ry0UgJ"
    redirect_uris = ["https://staff.example.com/cb"]
    scopes = ["openid"]
    grants = ["authorization_code"]
    roles = ["admin"]
    [clients.machine]
    secret = "k5Jt9Wp2Xm7Hs4Zd1Fv8Cn3Lq6By0RgT"
    scopes = ["notes:read"]
    grants = ["client_credentials"]
    [routes.notes]
    path = "/notes"
    scopes = ["notes:read"]
    upstream = "echo"
    [routes.own]
    path = "/own"
    upstream = "echo"
"#;

/// A gateway with clients, somebody signed in to it, and a line to its endpoints.
pub(crate) async fn with_alice() -> (Gateway, Person, Caller) {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let person = Person::signed_in(caller.clone(), "alice").await;
    (gateway, person, caller)
}

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
