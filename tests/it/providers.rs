//! Signing in with another OpenID provider: whom it brings in under which name, with which roles, and whom it
//! does not. What others might do to it is in `attacks`, accounts that are here already in `linking`.

mod attacks;
mod house;
mod linking;

use std::time::Duration;

use portcullis::config::Config;
use portcullis::domain::Handle;
use portcullis::domain::Role;
use portcullis::store::Open;
use portcullis::store::Store;
use portcullis::store::UserChange;
use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::forge::Signer;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;
use crate::harness::provider::Asked;
use crate::harness::provider::Provider;
use crate::harness::provider::Says;
use crate::harness::provider::jwk;

const ROUTE: &str = "[routes.app]\npath = \"/app\"\nupstream = \"echo\"\n\
                     [routes.admin]\npath = \"/admin\"\nupstream = \"echo\"\nroles = [\"admin\"]\n";
const ROLES: &str = "create_accounts = true\nroles_claim = \"groups\"\n\
                     roles = { grafana-admins = \"admin\", staff = [\"editor\", \"viewer\"] }\n";
const SESSION: &str = "__Host-portcullis";
const KEPT: &str = "__Host-portcullis-provider";

/// A provider, and a gateway that lets everybody in whom it knows.
async fn started(more: &str) -> (Provider, Gateway) {
    started_with(more, |_| ()).await
}

/// The same, where the provider says otherwise from the beginning: what it publishes is fetched at the start.
async fn started_with(more: &str, change: impl FnOnce(&mut Says)) -> (Provider, Gateway) {
    let provider = Provider::start().await;
    provider.say(change);
    let gateway = Gateway::start(&format!("{ROUTE}{}", provider.lines(more)));
    (provider, gateway)
}

/// Goes to the provider and signs in there: the address with which the browser is sent back.
async fn away(provider: &Provider, person: &Person) -> String {
    let begin = "/auth/provider/corp?return_to=%2Fapp%2Fnotes%3Fpage%3D2";
    let sent = person.open(begin).await.expect(303);
    assert_eq!(sent.header("cache-control"), "no-store");
    provider.approve(sent.header("location"))
}

/// There and back.
async fn sign_in(provider: &Provider, person: &Person) -> Answer {
    let back = away(provider, person).await;
    person.open(&back).await
}

/// What the app is told of whoever is signed in.
async fn told(person: &Person) -> Value {
    person.open("/app").await.expect(200).json()["headers"].take()
}

/// Changes an account as the administrator does.
async fn change(gateway: &Gateway, name: &str, change: UserChange) {
    let config = Config::load(&gateway.folder().path("gateway.toml")).unwrap();
    let store = Store::open(&config.store.sqlite, Open::Existing).await;
    let store = store.unwrap();
    let user = store.user(&Handle::parse(name).unwrap()).await;
    let user = user.unwrap().unwrap();
    let now = gateway.clock().now();
    store.change_user(user.id, change, now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_comes_in_from_another_provider_and_goes_on_to_where_they_were() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let page = person
        .open("/auth/login?return_to=%2Fapp%2Fnotes%3Fpage%3D2")
        .await
        .expect(200);
    let link = "href=\"/auth/provider/corp?return_to=%2Fapp%2Fnotes%3Fpage%3D2\"";
    assert!(page.text().contains(link), "{}", page.text());
    assert!(page.text().contains("Continue with Corp"));

    let back = sign_in(&provider, &person).await.expect(303);
    assert_eq!(back.header("location"), "/app/notes?page=2");
    assert_eq!(person.cookie("localhost", KEPT), None);
    let told = told(&person).await;
    assert_eq!(told["x-auth-user"], "alice");
    assert_eq!(told["x-auth-name"], "Alice");
    assert_eq!(told["x-auth-method"], "fed");
    assert_eq!(told["x-auth-email"], "alice@corp.example");
    assert_eq!(told["x-auth-roles"], "admin,editor,viewer");

    let account = person.open("/auth/account").await.expect(200);
    assert!(account.text().contains("Connected as alice@corp.example"));
    assert!(!account.text().contains("current_password"));

    // The same person again, from another browser: the same account, whatever they are called now.
    provider.say(|says| says.claims["preferred_username"] = json!("bob"));
    let other = Person::new(gateway.anonymous());
    sign_in(&provider, &other).await.expect(303);
    let again = self::told(&other).await;
    assert_eq!(again["x-auth-user-id"], told["x-auth-user-id"]);
    assert_eq!(again["x-auth-user"], "alice");
    assert_ne!(again["x-auth-session"], told["x-auth-session"]);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn every_sign_in_with_a_provider_has_a_session_of_its_own() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::signed_in(gateway.anonymous(), "bob").await;
    let before = person.cookie("localhost", SESSION).unwrap();
    sign_in(&provider, &person).await.expect(303);
    assert_eq!(told(&person).await["x-auth-user"], "alice");
    let cookie = format!("{SESSION}={before}");
    let caller = gateway.anonymous();
    caller
        .get_with("/app", &[("cookie", &cookie)])
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_to_sign_in_once_more_does_so_at_the_provider_as_well() {
    let (_provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    let page = person.open("/auth/login?prompt=login").await.expect(200);
    let link = "/auth/provider/corp?return_to=%2Fauth%2Faccount&#38;prompt=login";
    assert!(page.text().contains(link), "{}", page.text());
    let prompt = async |url| {
        let sent = person.open(url).await.expect(303);
        Asked::read(sent.header("location")).get("prompt")
    };
    assert_eq!(prompt("/auth/provider/corp?prompt=login").await, "login");
    assert_eq!(prompt("/auth/provider/corp").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_what_the_provider_gives_at_each_sign_in_beside_those_that_are_given_here() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
    person.open("/admin").await.expect(200);
    let role = |name: &str| vec![Role::parse(name).unwrap()];
    let add_roles = [role("viewer"), role("auditor")].concat();
    let given = UserChange {
        add_roles,
        ..UserChange::default()
    };
    change(&gateway, "alice", given).await;

    // One of the two groups is gone, and with it what it gave; what was given here stays.
    provider.say(|says| says.claims["groups"] = json!(["other"]));
    let other = Person::new(gateway.anonymous());
    sign_in(&provider, &other).await.expect(303);
    assert_eq!(told(&other).await["x-auth-roles"], "auditor,viewer");
    other.open("/admin").await.expect(403);
    // At once for every session there is.
    person.open("/admin").await.expect(403);

    provider.say(|says| says.claims["groups"] = json!(["grafana-admins"]));
    sign_in(&provider, &other).await.expect(303);
    assert_eq!(told(&other).await["x-auth-roles"], "admin,auditor,viewer");
    // What an administrator takes away is gone until the provider gives it again.
    let taken = UserChange {
        remove_roles: role("admin"),
        ..UserChange::default()
    };
    change(&gateway, "alice", taken).await;
    eventually("a role to be gone", async || {
        (other.open("/admin").await.status == 403).then_some(())
    })
    .await;
    sign_in(&provider, &other).await.expect(303);
    other.open("/admin").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_groups_may_be_at_the_userinfo_endpoint_alone() {
    let (provider, gateway) = started(ROLES).await;
    provider.say(|says| {
        for name in ["email", "email_verified", "groups", "name"] {
            says.userinfo[name] = std::mem::take(&mut says.claims[name]);
        }
    });
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
    let told = told(&person).await;
    assert_eq!(told["x-auth-email"], "alice@corp.example");
    assert_eq!(told["x-auth-roles"], "admin,editor,viewer");
    assert_eq!(told["x-auth-name"], "Alice");

    provider.say(|says| says.userinfo["sub"] = json!("somebody else"));
    let other = Person::new(gateway.anonymous());
    sign_in(&provider, &other)
        .await
        .expect_page(502, "provider_unbelievable");
    assert_eq!(other.cookie("localhost", SESSION), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_shown_the_secret_as_it_wants_it_and_may_change_its_keys() {
    let (provider, gateway) = started_with(ROLES, |says| {
        says.metadata = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
        says.claims["exp"] = json!(4_000_000_000_u64);
    })
    .await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);

    gateway.clock().advance(Duration::from_secs(60));
    provider.say(|says| {
        says.signer = Signer::stranger().named("next");
    });
    sign_in(&provider, &person).await.expect(303);
    told(&person).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_name_that_a_token_has_is_not_tried() {
    let (provider, gateway) = started_with(ROLES, |says| {
        let mut key = jwk(&says.signer);
        key["kid"] = json!("other");
        says.keys = Some(vec![key]);
    })
    .await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person)
        .await
        .expect_page(502, "provider_unbelievable");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_a_provider_takes_back_are_gone_and_an_answer_without_any_says_nothing() {
    let (provider, gateway) = started(ROLES).await;
    provider.say(|says| says.claims["exp"] = json!(4_000_000_000_u64));
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);

    let no_set = format!("{}/.well-known/openid-configuration", provider.server.url());
    provider.say(|says| says.metadata["jwks_uri"] = json!(no_set));
    gateway.clock().advance(Duration::from_secs(601));
    sign_in(&provider, &person).await.expect(303);

    let back = away(&provider, &person).await;
    provider.say(|says| {
        says.metadata = json!({});
        says.keys = Some(Vec::new());
    });
    gateway.clock().advance(Duration::from_secs(10));
    person
        .open(&back)
        .await
        .expect_page(503, "provider_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_made_only_where_the_file_says_so_and_for_whom() {
    let (provider, gateway) = started("").await;
    let person = Person::new(gateway.anonymous());
    let page = sign_in(&provider, &person)
        .await
        .expect_page(403, "no_account");
    assert!(page.text().contains("Corp knows you"), "{}", page.text());
    assert!(page.text().contains("/auth/login"));
    assert_eq!(person.cookie("localhost", SESSION), None);
    assert_eq!(person.cookie("localhost", KEPT), None);

    let domains = "create_accounts = true\nallow_domains = [\"corp.example\"]";
    let (provider, gateway) = started(domains).await;
    for claims in [
        json!({"email": "alice@evil.example"}),
        json!({"email": "alice@corp.example", "email_verified": false}),
        json!({"email": null}),
    ] {
        provider.say(|says| {
            says.claims["email_verified"] = json!(true);
            let members = says.claims.as_object_mut().unwrap();
            members.extend(claims.as_object().unwrap().clone());
        });
        let person = Person::new(gateway.anonymous());
        sign_in(&provider, &person)
            .await
            .expect_page(403, "no_account");
        assert_eq!(person.cookie("localhost", SESSION), None);
    }
    provider.say(|says| {
        says.claims["email"] = json!("alice@CORP.example");
        says.claims["email_verified"] = json!(true);
    });
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_or_the_houses_own_is_not_given_to_a_newcomer() {
    let (provider, gateway) = started("create_accounts = true").await;
    gateway.anonymous().register("alice").await;
    let newcomer = async |number: u32, name: &str| {
        provider.say(|says| {
            says.claims["sub"] = json!(number.to_string());
            says.claims["preferred_username"] = json!(name);
            says.claims["email"] = json!(format!("a{number}@corp.example"));
        });
        let person = Person::new(gateway.anonymous());
        sign_in(&provider, &person).await.expect(303);
        told(&person).await["x-auth-user"].clone()
    };
    assert_eq!(newcomer(1, "Alice").await, "a1@corp.example");
    assert_eq!(newcomer(2, "admin").await, "a2@corp.example");
    assert_eq!(newcomer(3, "bob").await, "bob");

    // Without a name that is free and an address that is verified there is nothing to call anybody.
    provider.say(|says| {
        says.claims["sub"] = json!("4");
        says.claims["email_verified"] = json!(false);
    });
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person)
        .await
        .expect_page(403, "no_account");
}

// SECURITY 30
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_password_is_refused_by_password_in_the_same_words() {
    let (provider, gateway) = started("create_accounts = true").await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
    let caller = gateway.anonymous();
    let refuse = async |name: &str, password: &str| {
        let answer = caller
            .try_log_in(&json!({"username": name, "password": password}))
            .await
            .expect_problem(401, "bad_credentials");
        answer.json()["detail"].clone()
    };
    let nobody = refuse("nobody.at.all", PASSWORD).await;
    for password in [PASSWORD, "!"] {
        assert_eq!(refuse("alice", password).await, nobody);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_stays_shut_whatever_the_provider_says() {
    let (provider, gateway) = started(ROLES).await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person).await.expect(303);
    let disabled = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    change(&gateway, "alice", disabled).await;
    let person = Person::new(gateway.anonymous());
    sign_in(&provider, &person)
        .await
        .expect_page(403, "account_disabled");
    assert_eq!(person.cookie("localhost", SESSION), None);
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_nobody_comes_in_and_nothing_is_half_made() {
    let (provider, gateway) = started(ROLES).await;
    let refused = async |person: &Person| {
        let page = sign_in(&provider, person).await;
        page.expect_page(503, "store_unavailable");
        assert_eq!(person.cookie("localhost", SESSION), None);
        assert_eq!(person.cookie("localhost", KEPT), None);
    };
    let person = Person::new(gateway.anonymous());
    gateway
        .behind_its_back("ALTER TABLE user_identities RENAME TO gone")
        .await;
    refused(&person).await;
    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO user_identities")
        .await;
    // An account is made, and has no session yet: it is the same at the next try.
    gateway
        .behind_its_back("ALTER TABLE sessions RENAME TO gone")
        .await;
    refused(&person).await;
    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO sessions")
        .await;
    sign_in(&provider, &person).await.expect(303);
    let told = told(&person).await;
    assert_eq!(
        (&told["x-auth-user"], &told["x-auth-roles"]),
        (&json!("alice"), &json!("admin,editor,viewer"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there_is_said_and_the_house_stays_open() {
    let provider = Provider::start().await;
    provider.say(|says| says.is_down = true);
    let gateway = Gateway::start(&format!("{ROUTE}{}", provider.lines(ROLES)));
    let person = Person::new(gateway.anonymous());
    let page = person
        .open("/auth/provider/corp")
        .await
        .expect_page(503, "provider_unavailable");
    assert_eq!(page.header("retry-after"), "5");
    Person::signed_in(gateway.anonymous(), "bob").await;

    // However many ask, it is asked now and then.
    let asked = provider.server.requests().len();
    for _ in 0..20 {
        person.open("/auth/provider/corp").await.expect(503);
    }
    assert!(provider.server.requests().len() <= asked + 1);

    provider.say(|says| says.is_down = false);
    gateway.clock().advance(Duration::from_secs(10));
    let back = away(&provider, &person).await;
    provider.say(|says| says.is_down = true);
    person
        .open(&back)
        .await
        .expect_page(503, "provider_unavailable");
    assert_eq!(person.cookie("localhost", SESSION), None);

    let unknown = person.open("/auth/provider/other").await;
    unknown.expect_page(404, "no_provider");
}
