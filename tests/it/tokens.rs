//! Tokens that are not good, also those that the gateway's own key has signed (RFC 8725): refused
//! everywhere, in the same words, whatever was wrong with them.

mod claims;
mod ends;
mod keys;
mod spelling;

use portcullis::store::KeyPurpose;
use serde_json::Value;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// Alice, whose token is good, and the keys of the gateway that issued it.
struct Trial {
    gateway: Gateway,
    app: Upstream,
    alice: Caller,
    good: Token,
    access: Signer,
    assertion: Signer,
}

/// Where tokens are read: two kinds of route, and an endpoint of our own.
const READ_AT: [&str; 3] = ["/required", "/optional", "/auth/me"];

impl Trial {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let gateway = Gateway::start(&format!(
            r#"
            [routes.required]
            path = "/required"
            upstream = "{0}"
            [routes.optional]
            path = "/optional"
            auth = "optional"
            upstream = "{0}"
            "#,
            app.url()
        ));
        let alice = gateway.signed_in("alice").await;
        let access = Signer::stolen(&gateway, KeyPurpose::Access).await;
        let assertion = Signer::stolen(&gateway, KeyPurpose::Assertion).await;
        let good = Token::read(alice.token());
        assert_eq!(good.header["kid"], access.kid);
        let trial = Self {
            gateway,
            app,
            alice,
            good,
            access,
            assertion,
        };
        // What is forged here is refused for what was changed in it, not because it was forged.
        trial.admitted(&trial.good.signed_by(&trial.access)).await;
        trial
    }

    async fn admitted(&self, token: &str) {
        let caller = self.alice.with_token(token);
        let answer = caller.get("/required").await;
        assert_eq!(answer.status, 200, "{token}: {}", answer.text());
        assert_eq!(self.app.only().header("x-auth-user"), "alice");
        caller.get("/auth/me").await.expect(200);
    }

    /// Everywhere, in the very words of a token that is mere noise.
    async fn refused(&self, what: &str, token: &str) {
        for path in READ_AT {
            let noise = self.alice.with_token("x").get(path).await;
            let refused = self.alice.with_token(token).get(path).await;
            let refused = refused.expect_invalid_token(&format!("{what} at {path}"));
            assert_eq!(words(&refused), words(&noise), "{what} at {path}");
        }
        self.app.assert_untouched();
    }
}

/// What an answer tells: all of it but its time and its id.
fn words(answer: &Answer) -> (Value, Vec<String>) {
    let mut problem = answer.json();
    problem["request_id"].take();
    let headers = answer.headers.iter().map(|(name, value)| {
        let changes = matches!(name.as_str(), "date" | "x-request-id");
        format!("{name}: {:?}", (!changes).then_some(value))
    });
    let mut headers: Vec<_> = headers.collect();
    headers.sort_unstable();
    (problem, headers)
}

/// The order of P-256 (FIPS 186-5, SP 800-186).
const ORDER: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
