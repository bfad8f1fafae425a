//! What an authorization request asks for (RFC 6749 §4.1.1, RFC 7636 §4.3, OpenID Connect Core §3.1.2.1), judged.
//!
//! First who asks and where the answer goes: before both are known to be right, nobody is sent anywhere
//! (SECURITY 35). It must never guess: what is unknown, repeated or contradictory is an error.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use crate::domain::Client;
use crate::domain::Grant;
use crate::domain::Resource;
use crate::domain::Scopes;
use crate::domain::TokenHash;
use crate::domain::UserId;
use crate::intake::Fields;
use crate::oauth::OAuth;
use crate::oauth::authorize::answer::Denial;
use crate::oauth::authorize::answer::Reply;
use crate::oauth::error::OAuthError;
use crate::oauth::relay::TOO_LONG;
use crate::oauth::relay::is_too_long;
use crate::problem::Problem;

/// A request that is good in itself. Whether the person may and wants to is another question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) reply: Reply,
    /// Whether the request named it.
    pub(super) redirect_uri_sent: bool,
    /// Whether the answer goes to an app on the person's own machine, which anybody may say to be: an app with a
    /// secret gets nothing by its code without that.
    pub(super) is_native: bool,
    pub(super) scopes: Scopes,
    /// SHA-256 of the verifier.
    pub(super) challenge: TokenHash,
    pub(super) nonce: Option<String>,
    pub(super) audience: Option<Resource>,
    pub(super) login_hint: Option<String>,
    /// Whom the client means, by an ID token that it got here (`id_token_hint`).
    meant: Option<UserId>,
    prompt: Prompt,
    max_age: Option<u64>,
    /// When this request first led to the sign-in page, in seconds since the epoch.
    begun_at: Option<u64>,
}

/// Why a request is not good, and who is to be told.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Only the person: it is not known where the client is.
    Nobody(Problem),
    /// The client.
    Reply(Reply, Denial),
}

/// `prompt`: all that is asked for at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prompt {
    none: bool,
    sign_in: bool,
    consent: bool,
}

impl Asked {
    /// Whether no page may be shown (`prompt=none`).
    pub(super) fn is_silent(&self) -> bool {
        self.prompt.none
    }

    /// Whether it is this person whom the client means.
    pub(super) fn is_meant_for(&self, user: UserId) -> bool {
        self.meant.is_none_or(|meant| meant == user)
    }

    /// Whether the person has signed in since this request led there.
    pub(super) fn is_answered_by(&self, signed_in_at: u64, now: u64) -> bool {
        let since = self.begun_at.filter(|begun| *begun <= now);
        since.is_some_and(|begun| signed_in_at >= begun)
    }

    /// Whether the person is to be asked all the same.
    pub(super) fn wants_consent(&self) -> bool {
        self.prompt.consent
    }

    /// Whether a sign-in at that time is recent enough, now: for `max_age`, and for `prompt=login` since this
    /// request led there. Whoever changes the time in the address only spares themselves a sign-in, and the
    /// client sees the true one as `auth_time`.
    pub(super) fn is_satisfied_by(&self, signed_in_at: u64, now: u64) -> bool {
        if self.is_answered_by(signed_in_at, now) {
            return true;
        }
        let is_young = |max_age| now.saturating_sub(signed_in_at) <= max_age;
        // `max_age=0` is `prompt=login` (OpenID Connect Core §3.1.2.1, as its errata say).
        !self.prompt.sign_in && self.max_age.is_none_or(|max| max > 0 && is_young(max))
    }
}

/// The same request, with the time at which it leads to the sign-in page.
pub(super) fn begun_at(query: &str, now: u64) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.filter(|(name, _)| name != BEGUN_AT))
        .append_pair(BEGUN_AT, &now.to_string())
        .finish()
}

impl OAuth {
    /// Reads and judges a request.
    pub(super) async fn asked(&self, query: &str) -> Result<Asked, Wrong> {
        let (fields, fault) = Fields::with_fault(query);
        let nobody = |code, detail: &str| {
            let problem = Problem::new(StatusCode::BAD_REQUEST, code, detail.to_owned());
            Wrong::Nobody(problem)
        };
        if let Some(fault) = fault
            .as_ref()
            .filter(|fault| fault.is_about(&WHO_AND_WHERE))
        {
            return Err(nobody("bad_form", &fault.to_string()));
        }
        let unknown =
            "The app that sent you here is not known here, or was disabled. Tell whoever runs it.";
        let client = match fields.get("client_id") {
            None => None,
            Some(id) => self.find(id).await.map_err(|_| {
                let problem = Problem::store_unavailable();
                Wrong::Nobody(problem)
            })?,
        };
        let client = client
            .ok_or_else(|| nobody("unknown_client", unknown))?
            .client;
        let sent = fields.get("redirect_uri");
        let elsewhere = "The app that sent you here wants its answer at an address that is not one of those \
                         registered for it, or names none. Tell whoever runs it.";
        let redirect_uri = match (sent, client.redirect_uris.as_slice()) {
            (Some(uri), _) if client.sends_to(uri) => uri.to_owned(),
            // RFC 6749 §3.1.2.3.
            (None, [only]) => only.as_str().to_owned(),
            _ => return Err(nobody("redirect_uri_refused", elsewhere)),
        };
        let reply = Reply {
            redirect_uri,
            state: fields.get("state").map(str::to_owned),
        };
        let denied = match fault {
            Some(fault) => Err(Denial::new("invalid_request", fault.to_string())),
            // As it was sent, and as it leads to the sign-in page and back.
            None if is_too_long(query) || is_too_long(&begun_at(query, LATEST)) => {
                Err(Denial::new("invalid_request", TOO_LONG))
            }
            None => self.judge(client, &reply, &fields),
        };
        denied.map_err(|denial| Wrong::Reply(reply, denial))
    }

    fn judge(&self, client: Client, reply: &Reply, fields: &Fields) -> Result<Asked, Denial> {
        let invalid = |why: &str| Denial::new("invalid_request", why);
        for (name, error) in NOT_SUPPORTED {
            if fields.get(name).is_some() {
                let why = format!("The parameter {name} is not supported.");
                return Err(Denial::new(error, why));
            }
        }
        match fields.get("response_type") {
            Some("code") => {}
            None => return Err(invalid("The parameter response_type is missing.")),
            Some(_) => {
                let why = "There is one response_type: code.";
                return Err(Denial::new("unsupported_response_type", why));
            }
        }
        if !matches!(fields.get("response_mode"), None | Some("query")) {
            return Err(invalid("There is one response_mode: query."));
        }
        if !client.may(Grant::AuthorizationCode) {
            let why = "authorization_code is not among this client's grants.";
            return Err(Denial::new("unauthorized_client", why));
        }
        let challenge = challenge(fields)?;
        let scopes = client.scopes_for_people(fields.get("scope"));
        let scopes = scopes.map_err(|why| Denial::new("invalid_scope", why))?;
        let audience = self.resource(&client, fields.get("resource"));
        let audience = audience.map_err(|error| match error {
            OAuthError::InvalidTarget(why) => Denial::new("invalid_target", why),
            _ => invalid("The parameter resource cannot be read."),
        })?;
        let prompt = prompt(fields.get("prompt"))?;
        let number = |name: &str| match fields.get(name).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(invalid(&format!("{name} must be a number of seconds."))),
        };
        let (max_age, begun_at) = (number("max_age")?, number(BEGUN_AT)?);
        let bounded = |name: &str| match fields.get(name) {
            Some(text) if text.len() > TEXT_BYTES_MAX => Err(invalid(&format!(
                "{name} has more than {TEXT_BYTES_MAX} bytes."
            ))),
            text => Ok(text.map(str::to_owned)),
        };
        let (nonce, login_hint) = (bounded("nonce")?, bounded("login_hint")?);
        // One that is none of ours is as if it were not there, as at `oauth/logout`: its key may be gone.
        let hint = fields.get("id_token_hint");
        let hint = hint.and_then(|hint| self.accounts.judge.id_token_hint(hint));
        let hint = hint.filter(|hint| hint.client == client.id);
        let registered = client.redirect_uris.iter();
        let mut natives = registered.filter(|uri| uri.is_native());
        let is_native = client.is_public()
            && natives
                .any(|uri| uri.is(&reply.redirect_uri) || uri.is_but_for_port(&reply.redirect_uri));
        Ok(Asked {
            is_native,
            client,
            reply: reply.clone(),
            redirect_uri_sent: fields.get("redirect_uri").is_some(),
            scopes,
            challenge,
            nonce,
            audience,
            login_hint,
            meant: hint.map(|hint| hint.user),
            prompt,
            max_age,
            begun_at,
        })
    }
}

/// S256 and nothing else, for every client (SECURITY 36): without a method it would be `plain` (RFC 7636 §4.3).
fn challenge(fields: &Fields) -> Result<TokenHash, Denial> {
    let invalid = |why: &str| Denial::new("invalid_request", why);
    let sent = fields.get("code_challenge").ok_or_else(|| {
        invalid("PKCE is needed: code_challenge, and code_challenge_method=S256.")
    })?;
    if fields.get("code_challenge_method") != Some("S256") {
        return Err(invalid("There is one code_challenge_method: S256."));
    }
    let mut hash = [0; 32];
    match URL_SAFE_NO_PAD.decode_slice(sent, &mut hash) {
        Ok(32) => Ok(TokenHash::new(hash)),
        _ => Err(invalid(
            "code_challenge must be the SHA-256 of the verifier in base64url: 43 characters.",
        )),
    }
}

fn prompt(asked: Option<&str>) -> Result<Prompt, Denial> {
    let mut prompt = Prompt::default();
    let words = asked.unwrap_or_default().split(' ');
    for word in words.filter(|_| asked.is_some()) {
        match word {
            "none" => prompt.none = true,
            // There is one account at a time: another is chosen by signing in.
            "login" | "select_account" => prompt.sign_in = true,
            "consent" => prompt.consent = true,
            _ => {
                let why = "prompt may be none, or login, select_account and consent.";
                return Err(Denial::new("invalid_request", why));
            }
        }
    }
    if prompt.none && asked != Some("none") {
        let why = "prompt=none goes with nothing else.";
        return Err(Denial::new("invalid_request", why));
    }
    Ok(prompt)
}

/// What decides whether there is anybody to send an error to.
const WHO_AND_WHERE: [&str; 2] = ["client_id", "redirect_uri"];
/// OpenID Connect Core §6 and §7.2.1; the words are those of §3.1.2.6.
const NOT_SUPPORTED: [(&str, &str); 3] = [
    ("request", "request_not_supported"),
    ("request_uri", "request_uri_not_supported"),
    ("registration", "registration_not_supported"),
];
/// A parameter of our own: no client needs to send it.
const BEGUN_AT: &str = "begun_at";
/// With ten digits, as times have until the year 2286.
const LATEST: u64 = 9_999_999_999;
/// Of what is kept or shown: nobody needs more.
const TEXT_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_words_that_go_together() {
        let read = |text| prompt(Some(text)).ok();
        let asks = |none, sign_in, consent| {
            Some(Prompt {
                none,
                sign_in,
                consent,
            })
        };
        assert_eq!(prompt(None).ok(), asks(false, false, false));
        assert_eq!(read("none"), asks(true, false, false));
        assert_eq!(read("consent login"), asks(false, true, true));
        assert_eq!(read("select_account"), asks(false, true, false));
        for wrong in [
            "none login",
            "login none",
            "none none",
            "Login",
            "create",
            "login  consent",
            " login",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_begins_once() {
        let again = begun_at("a=1&begun_at=5&b=%20x&begun_at=6", 7);
        assert_eq!(again, "a=1&b=+x&begun_at=7");
    }
}
