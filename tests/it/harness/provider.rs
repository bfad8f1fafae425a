//! Another OpenID provider, which says whatever the test wants: real requests, real signatures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use portcullis::clock::Clock;
use portcullis::clock::unix_seconds;
use serde_json::Value;
use serde_json::json;
use url::Url;

use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

/// What the gateway is known by there.
pub(crate) const CLIENT: &str = "gate";
/// With letters that must be encoded (RFC 6749 §2.3.1).
pub(crate) const SECRET: &str = "s&cr:t plus+";

/// The provider.
pub(crate) struct Provider {
    pub(crate) server: Upstream,
    pub(crate) says: Arc<Mutex<Says>>,
}

/// What it says.
pub(crate) struct Says {
    /// Over what a good discovery document has.
    pub(crate) metadata: Value,
    /// Over what a good ID token has; null takes a claim away.
    pub(crate) claims: Value,
    pub(crate) header: Value,
    pub(crate) signing: Signing,
    pub(crate) signer: Signer,
    /// The keys that it publishes; its signer's when left out.
    pub(crate) keys: Option<Vec<Value>>,
    pub(crate) userinfo: Value,
    /// In place of a good answer of the token endpoint.
    pub(crate) token_answer: Option<(u16, Value)>,
    pub(crate) is_down: bool,
    codes: BTreeMap<String, Grant>,
}

/// How it signs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Well,
    NotAtAll,
    WithTheSecret,
    WithAnothersKey,
}

/// A code that it gave.
#[derive(Clone)]
struct Grant {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

impl Provider {
    /// Knows one person, `248289761001`.
    pub(crate) async fn start() -> Self {
        let says = Arc::new(Mutex::new(Says {
            metadata: json!({}),
            claims: json!({
                "preferred_username": "alice", "name": "Alice", "email": "alice@corp.example",
                "email_verified": true, "groups": ["staff", "grafana-admins"],
            }),
            header: json!({}),
            signing: Signing::Well,
            signer: Signer::stranger(),
            keys: None,
            userinfo: json!({ "sub": "248289761001" }),
            token_answer: None,
            is_down: false,
            codes: BTreeMap::new(),
        }));
        let shown = Arc::clone(&says);
        let server = Upstream::answering(move |request| {
            let (status, body) = shown.lock().unwrap().answer(request);
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(Full::<Bytes>::from(body.to_string()))
                .unwrap()
        })
        .await;
        Self { server, says }
    }

    /// `[providers.corp]`
    pub(crate) fn lines(&self, more: &str) -> String {
        self.lines_of("corp", more)
    }

    /// `[providers.NAME]`
    pub(crate) fn lines_of(&self, name: &str, more: &str) -> String {
        let issuer = self.server.url();
        format!(
            "[providers.{name}]\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\n\
             client_secret = \"{SECRET}\"\nname = \"Corp\"\n{more}\n"
        )
    }

    /// Says otherwise from now on.
    pub(crate) fn say(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    /// How often the token endpoint was asked.
    pub(crate) fn exchanges(&self) -> usize {
        let requests = self.server.requests();
        let exchanges = requests.iter().filter(|request| request.target == "/token");
        exchanges.count()
    }

    /// Somebody who was sent to `location` signs in there: where they are sent back to.
    #[track_caller]
    pub(crate) fn approve(&self, location: &str) -> String {
        let asked = Asked::read(location);
        assert_eq!(asked.url.path(), "/authorize");
        assert_eq!(asked.get("response_type"), "code");
        assert_eq!(asked.get("client_id"), CLIENT);
        assert_eq!(asked.get("scope"), "openid profile email");
        assert_eq!(asked.get("code_challenge_method"), "S256");
        let mut says = self.says.lock().unwrap();
        let code = format!("code-{}", says.codes.len());
        let grant = Grant {
            nonce: asked.get("nonce"),
            challenge: asked.get("code_challenge"),
            redirect_uri: asked.get("redirect_uri"),
        };
        for word in [&grant.nonce, &grant.challenge, &asked.get("state")] {
            assert_eq!(word.len(), 43, "{word}");
        }
        let redirect_uri = grant.redirect_uri.clone();
        says.codes.insert(code.clone(), grant);
        drop(says);
        let issuer = self.server.url();
        let answer = [
            ("code", code),
            ("state", asked.get("state")),
            ("iss", issuer),
        ];
        Url::parse_with_params(&redirect_uri, answer)
            .unwrap()
            .into()
    }
}

/// An authorization request.
pub(crate) struct Asked {
    pub(crate) url: Url,
    parameters: BTreeMap<String, String>,
}

impl Asked {
    /// Each parameter once (RFC 6749 §3.1).
    #[track_caller]
    pub(crate) fn read(location: &str) -> Self {
        let url = Url::parse(location).unwrap();
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            let before = parameters.insert(name.to_string(), value.to_string());
            assert_eq!(before, None, "{name} is there twice");
        }
        Self { url, parameters }
    }

    /// A parameter; empty where it is not there.
    pub(crate) fn get(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
    }
}

impl Says {
    fn answer(&mut self, request: &Recorded) -> (u16, Value) {
        if self.is_down {
            return (500, json!({}));
        }
        let base = format!("http://{}", request.header("host"));
        match request.target.as_str() {
            "/.well-known/openid-configuration" => {
                let document = json!({
                    "issuer": base,
                    "authorization_endpoint": format!("{base}/authorize"),
                    "token_endpoint": format!("{base}/token"),
                    "userinfo_endpoint": format!("{base}/userinfo"),
                    "jwks_uri": format!("{base}/keys"),
                    "authorization_response_iss_parameter_supported": true,
                });
                (200, over(document, &self.metadata))
            }
            "/keys" => {
                let keys = self.keys.clone();
                let keys = keys.unwrap_or_else(|| vec![jwk(&self.signer)]);
                (200, json!({ "keys": keys }))
            }
            "/token" => self.exchange(&base, request),
            "/userinfo" => {
                assert_eq!(request.header("authorization"), "Bearer access-token");
                (200, self.userinfo.clone())
            }
            other => panic!("{other} was asked for"),
        }
    }

    fn exchange(&mut self, base: &str, request: &Recorded) -> (u16, Value) {
        assert_eq!(request.method, "POST");
        let form = request.header("content-type");
        assert_eq!(form, "application/x-www-form-urlencoded");
        let fields: BTreeMap<_, _> = url::form_urlencoded::parse(&request.body)
            .into_owned()
            .collect();
        let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
        self.insist_on_the_secret(request, &fields);
        if let Some(answer) = &self.token_answer {
            return answer.clone();
        }
        assert_eq!(get("grant_type"), "authorization_code");
        // RFC 6749 §4.1.2: a code is good once.
        let Some(grant) = self.codes.remove(&get("code")) else {
            return (400, json!({ "error": "invalid_grant" }));
        };
        let verifier = get("code_verifier");
        let challenge = digest::digest(&digest::SHA256, verifier.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(challenge), grant.challenge);
        assert_eq!(get("redirect_uri"), grant.redirect_uri);
        let id_token = self.id_token(base, &grant.nonce);
        let answer = json!({
            "access_token": "access-token", "token_type": "Bearer", "expires_in": 300,
            "id_token": id_token,
        });
        (200, answer)
    }

    fn insist_on_the_secret(&self, request: &Recorded, fields: &BTreeMap<String, String>) {
        let methods = &self.metadata["token_endpoint_auth_methods_supported"];
        if *methods == json!(["client_secret_post"]) {
            assert_eq!(fields["client_id"], CLIENT);
            assert_eq!(fields["client_secret"], SECRET);
            assert_eq!(request.header("authorization"), "");
            return;
        }
        assert!(!fields.contains_key("client_secret"));
        let sent = request.header("authorization").strip_prefix("Basic ");
        let pair = STANDARD.decode(sent.unwrap()).unwrap();
        assert_eq!(pair, b"gate:s%26cr%3At+plus%2B");
    }

    fn id_token(&self, base: &str, nonce: &str) -> String {
        let now = unix_seconds(Clock::default().now());
        let hash = digest::digest(&digest::SHA256, b"access-token");
        let claims = json!({
            "iss": base, "aud": CLIENT, "sub": "248289761001", "iat": now, "exp": now + 300,
            "nonce": nonce, "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]),
        });
        let header = json!({"alg": "ES256", "kid": self.signer.kid});
        let token = Token {
            header: over(header, &self.header),
            payload: over(claims, &self.claims),
            signature: String::new(),
        };
        match self.signing {
            Signing::Well => token.signed_by(&self.signer),
            Signing::NotAtAll => token.unsigned(),
            Signing::WithTheSecret => token.hmac(SECRET.as_bytes()),
            Signing::WithAnothersKey => token.signed_by(&Signer::stranger()),
        }
    }
}

/// The public half of a signer.
pub(crate) fn jwk(signer: &Signer) -> Value {
    let (x, y) = signer.point();
    json!({"kty": "EC", "crv": "P-256", "kid": signer.kid, "use": "sig", "x": x, "y": y})
}

fn over(mut object: Value, changes: &Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    object
}
