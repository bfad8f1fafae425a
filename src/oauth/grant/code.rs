//! Tokens for a person who has signed in, by a code (RFC 6749 §4.1.3) and its verifier (RFC 7636 §4.5).

use axum::response::Response;

use crate::domain::Client;
use crate::oauth::OAuth;
use crate::oauth::client::Proven;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::oauth::grant::Granted;
use crate::oauth::grant::Proposed;
use crate::store::Redeemed;
use crate::store::Redemption;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;

/// One use (SECURITY 37). The same words whatever is wrong with the code, or with what it was issued for.
pub(in crate::oauth) async fn redeem(
    oauth: &OAuth,
    proven: &Proven,
    form: &Form,
) -> Result<Response, OAuthError> {
    let (client, accounts) = (&proven.client, &oauth.accounts);
    let code = form.required("code")?;
    let verifier = form.required("code_verifier")?;
    if !is_verifier(verifier) {
        let why = "code_verifier must have 43 to 128 letters, digits, '-', '.', '_' or '~'.";
        return Err(OAuthError::InvalidRequest(why.to_owned()));
    }
    let target = oauth.target(client, form)?;
    // A forged code dies here, before the database.
    let code = OneUse::parse(&accounts.vault, Kind::AuthorizationCode, code);
    let code = code.ok_or(NOT_GOOD)?;
    let Proposed { session, refresh } = oauth.propose(client, form);
    let now = session.now;
    let redemption = Redemption {
        code: code.hash(),
        client: client.id.clone(),
        proof: proven.proof(),
        redirect_uri: form.get("redirect_uri").map(str::to_owned),
        // RFC 7636 §4.6, by S256 alone.
        challenge: Client::hash(verifier),
        target,
        session,
    };
    let redeemed = accounts.store.redeem_code(redemption).await;
    match redeemed.map_err(|error| OAuthError::unavailable(&error))? {
        Redeemed::Opened {
            user,
            session,
            nonce,
        } => {
            let session = oauth.still_granted(client, &user, session).await?;
            tracing::info!(
                client.id = %client.id, user.id = %user.id, session.id = %session.id,
                "a client got tokens for a user"
            );
            let granted = Granted {
                user: &user,
                session: &session,
                refresh: refresh.as_ref(),
                nonce: nonce.as_deref(),
            };
            Ok(granted.answer(oauth))
        }
        Redeemed::Refused => Err(NOT_GOOD),
        Redeemed::Replayed(ended) => {
            tracing::warn!(
                client.id = %client.id, client = %form.origin.address, sessions.ended = ended.len(),
                "a spent authorization code came back; what it had opened was ended"
            );
            accounts.bury(ended, now);
            Err(NOT_GOOD)
        }
    }
}

/// RFC 7636 §4.1.
fn is_verifier(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(is_unreserved)
}

const NOT_GOOD: OAuthError = OAuthError::InvalidGrant(
    "The code is unknown, spent, older than a minute, or was issued for another client, redirect_uri, \
     code_verifier or resource: begin again.",
);

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 36
    #[test]
    fn a_verifier_is_long_and_plain() {
        let of = |length| "a".repeat(length);
        assert!(is_verifier(&of(43)) && is_verifier(&of(128)));
        assert!(!is_verifier(&of(42)) && !is_verifier(&of(129)));
        assert!(is_verifier(&format!("{}-._~Z9", of(40))));
        for bad in ["+", "/", "=", " ", "\u{e4}", "%"] {
            assert!(!is_verifier(&format!("{}{bad}", of(60))), "{bad}");
        }
    }
}
