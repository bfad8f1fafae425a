//! How a provider is asked, and how not.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

/// One of this address, which has never been asked.
fn provider(address: SocketAddr) -> Provider {
    let trust = config::UpstreamTrust::System;
    Provider {
        config: config::Provider {
            name: Arc::from("corp"),
            url: Arc::from(format!("http://{address}")),
            client_id: "gate".to_owned(),
            client_secret: SecretString::from("s"),
            label: "Corp".to_owned(),
            scopes: Vec::new(),
            create_accounts: false,
            allow_domains: Vec::new(),
            roles_claim: Vec::new(),
            roles: Vec::new(),
            algorithms: vec![config::IssuerAlgorithm::Rs256],
            trust: trust.clone(),
            position: config::Position::default(),
        },
        redirect_uri: "https://localhost/auth/provider/corp/callback".to_owned(),
        outbound: Outbound::new(&trust).unwrap(),
        clock: Clock::default(),
        known: ArcSwapOption::empty(),
        asked: Mutex::default(),
        places: Semaphore::new(AT_ONCE),
    }
}

/// What it published at some time.
fn published(provider: &Provider, at: SystemTime) -> Known {
    let url = &provider.config.url;
    let document = json!({
        "issuer": **url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
    });
    let modulus = URL_SAFE_NO_PAD.encode([0xc3; 256]);
    let key = json!({"kty": "RSA", "kid": "a", "n": modulus, "e": "AQAB"});
    let keys = json!({ "keys": [key] });
    Known {
        metadata: Metadata::read(url, &document).unwrap(),
        keys: IssuerKeys::read(&keys, &provider.config.algorithms, at).unwrap(),
    }
}

/// How it stands, without waiting for it.
async fn looked_at<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

// SECURITY 53
#[tokio::test]
async fn not_too_many_wait_for_a_provider_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(silent.local_addr().unwrap());
    let ties = Ties::fresh();
    let begin = || Box::pin(provider.authorization_url(&ties, false));
    // One asks, and the others wait for that.
    let mut waiting: Vec<_> = (0..=AT_ONCE).map(|_| begin()).collect();
    for begun in &mut waiting {
        assert!(looked_at(begun.as_mut()).await.is_pending());
    }
    let more = looked_at(begin().as_mut()).await;
    assert!(matches!(more, Poll::Ready(Err(NoProvider::Busy))));
    // Nobody waits where it has told what will do.
    let at = provider.clock.now() - FRESH;
    let known = published(&provider, at);
    provider.known.store(Some(Arc::new(known)));
    assert!(matches!(
        looked_at(begin().as_mut()).await,
        Poll::Ready(Ok(_))
    ));
}

#[test]
fn a_client_names_itself_as_the_specification_spells_it() {
    let sent = basic("a:b", "s&c r+t");
    let pair = STANDARD.decode(sent.strip_prefix("Basic ").unwrap());
    assert_eq!(pair.unwrap(), b"a%3Ab:s%26c+r%2Bt");
}

#[test]
fn an_error_of_somebody_else_writes_nothing_of_its_own() {
    assert_eq!(error_word("access_denied"), "access_denied");
    assert_eq!(error_word("<b>\r\nx y"), "bxy");
    assert_eq!(error_word(&"a".repeat(100)).len(), 64);
}
