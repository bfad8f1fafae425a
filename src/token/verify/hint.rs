//! ID tokens of ours that come back (OpenID Connect RP-Initiated Logout §2): a client shows whom it means, and in
//! which session. They open nothing, and one that has expired says it as well.

use crate::domain::ClientId;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::keys::KeySet;
use crate::token::id_token::ID_TYPE;
use crate::token::verify::Members;
use crate::token::verify::Verifier;
use crate::token::verify::read_header;

/// What an ID token of ours says, to whoever it is shown by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTokenHint {
    /// For which client it was made.
    pub client: ClientId,
    /// Of whom it speaks.
    pub user: UserId,
    /// In which session of that client.
    pub session: SessionId,
}

impl Verifier {
    /// Reads an ID token of ours, of whatever age; `None` where it is anything else.
    pub fn id_token_hint(&self, keys: &KeySet, token: &str) -> Option<IdTokenHint> {
        if token.len() > Self::TOKEN_BYTES_MAX {
            return None;
        }
        let types = [ID_TYPE.to_ascii_lowercase()];
        let header = read_header(token, &types).ok()?;
        let key = keys.verifying(&header.kid)?;
        if header.algorithm != Some(key.algorithm()) {
            return None;
        }
        let validation = self.validation(key.algorithm());
        let read = jsonwebtoken::decode::<Members>(token, key.verifying(), &validation);
        let Members(claims) = read.ok()?.claims;
        let text = |name: &str| claims.get(name)?.as_str();
        Some(IdTokenHint {
            client: ClientId::parse(text("aud")?).ok()?,
            user: UserId::parse(text("sub")?).ok()?,
            session: SessionId::parse(text("sid")?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::config::Algorithm;
    use crate::domain::Amr;
    use crate::domain::Scopes;
    use crate::domain::Session;
    use crate::domain::User;
    use crate::domain::Username;
    use crate::token::id_token::IdToken;
    use crate::token::issue::AccessTokens;

    const ISSUER: &str = "https://gateway.example";
    const TTL: Duration = Duration::from_secs(900);

    // SECURITY 22
    #[test]
    fn an_id_token_of_ours_is_read_at_any_age_and_nothing_else_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let user = User {
            id: UserId::new(Uuid::from_u128(1)),
            username: Username::parse("alice").ok(),
            email: None,
            email_verified: false,
            name: None,
            roles: Vec::new(),
            disabled: false,
            version: 1,
            created_at: now,
        };
        let session = Session {
            id: SessionId::new(Uuid::from_u128(2)),
            user: user.id,
            client: ClientId::parse("notes-web").unwrap(),
            scopes: Scopes::parse("openid").unwrap(),
            audience: None,
            authenticated_at: now,
            amr: Amr::password(),
            expires_at: now + TTL,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let keys = KeySet::for_test(Algorithm::Es256);
        let signed = |issuer, keys: &KeySet| {
            let token = IdToken {
                issuer,
                user: &user,
                session: &session,
                nonce: None,
                access_token: "access",
                ttl: TTL,
            };
            token.sign(keys, now)
        };
        let read = |token: &str| Verifier::new(ISSUER).id_token_hint(&keys, token);
        let token = signed(ISSUER, &keys);
        let expected = IdTokenHint {
            client: session.client.clone(),
            user: user.id,
            session: session.id,
        };
        assert_eq!(read(&token), Some(expected));

        let access = AccessTokens::new(ISSUER, TTL).issue(&keys, &user, &session, now);
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        for other in [
            access,
            signed("https://other.example", &keys),
            signed(ISSUER, &KeySet::for_test(Algorithm::Es256)),
            format!("{header}.e30.{signature}"),
            format!("{head}."),
            format!("{token}{}", "A".repeat(Verifier::TOKEN_BYTES_MAX)),
            String::new(),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
    }
}
