//! How long an authorization request may be, and how often one is granted.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::app::HOUSE;
use crate::harness::app::LINES;
use crate::harness::app::NOTES;
use crate::harness::app::said;
use crate::harness::app::with_alice;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;

/// What our pages carry of a request, encoded.
const CARRIED_BYTES_MAX: usize = 10 * 1024;

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A good request that is carried as so many bytes, most of them as `filling` at the end of an address, which
/// stands there as `spelt` once it was read and written anew.
fn request_of(bytes: usize, filling: &str, spelt: &str) -> String {
    let bare = NOTES.request("openid", &[]);
    let (path, query) = bare.split_once('?').unwrap();
    let each = encoded(spelt).len();
    let fixed = encoded(&format!("{query}&long=&begun_at=1800000000")).len();
    let room = bytes - fixed;
    let long = filling.repeat(room / each) + &"a".repeat(room % each);
    format!("{path}?{query}&long={long}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_as_long_as_our_pages_can_carry() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    for (name, filling, spelt) in [
        ("alice", "a", "a"),
        ("bob", "%3D", "%3D"),
        ("carol", "~", "%7E"),
        ("dave", "'", "%27"),
    ] {
        caller.register(name).await;
        // As long as may be, all the way: to sign in, with a password as long as may be, and to allow it.
        let longest = request_of(CARRIED_BYTES_MAX, filling, spelt);
        let person = Person::new(caller.clone());
        let page = person.open(&longest).await.expect(303);
        let page = person.follow(page).await.expect(200);
        let form = page.form("/auth/login");
        let wrong = "\u{e9}".repeat(512);
        let filled = [("identifier", name), ("password", &wrong)];
        person.submit(&form, &filled).await.expect(401);
        let filled = [("identifier", name), ("password", PASSWORD)];
        let signed_in = person.submit(&form, &filled).await.expect(303);
        let page = person.follow(signed_in).await.expect(200);
        let mut links = page.text().split("href=\"");
        let not_you = links.find(|link| link.contains("prompt=login")).unwrap();
        let not_you = not_you.split('"').next().unwrap();
        let not_you = not_you.replace("&#38;", "&").replace("&amp;", "&");
        person.open(&not_you).await.expect(200);
        let form = page.form("/auth/oauth/consent");
        let denied = person.submit(&form, &[("decision", "deny")]).await;
        assert_eq!(said(&denied.expect(303))["error"], "access_denied");
        let page = person.open(&longest).await.expect(200);
        let form = page.form("/auth/oauth/consent");
        let allowed = person.submit(&form, &[("decision", "allow")]).await;
        assert!(said(&allowed.expect(303)).contains_key("code"), "{filling}");

        // One byte more is said at once, to the client, whoever is there.
        let mut beyond = request_of(CARRIED_BYTES_MAX, filling, spelt);
        beyond.push('a');
        for person in [&person, &Person::new(caller.clone())] {
            let told = said(&person.open(&beyond).await.expect(303));
            assert_eq!(told["error"], "invalid_request", "{filling}");
            assert!(told["error_description"].contains("10 KiB"), "{told:?}");
            assert_eq!(
                (&*told["state"], &*told["iss"]),
                ("xyz", "https://localhost")
            );
        }
    }
    // Also where nobody would be asked.
    let person = Person::new(caller);
    person.sign_in("alice").await.expect(303);
    let state = "s".repeat(CARRIED_BYTES_MAX);
    let request = HOUSE.request("openid", &[("state", &state)]);
    let told = said(&person.open(&request).await.expect(303));
    assert_eq!(told["error"], "invalid_request");
    assert_eq!(told["state"], state);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn one_user_gets_only_so_many_codes() {
    let (gateway, person, caller) = with_alice().await;
    NOTES.code(&person, "openid").await;
    let silent = NOTES.request("openid", &[("prompt", "none")]);
    let mut granted = 1;
    for _ in 1..120 {
        let told = said(&person.open(&silent).await.expect(303));
        assert!(told.contains_key("code"), "{granted}: {told:?}");
        granted += 1;
    }
    // Until there is none for a while, however slow the machine.
    let told = loop {
        let told = said(&person.open(&silent).await.expect(303));
        let wait = told.get("error_description").map(|it| seconds(it));
        granted += usize::from(wait.is_none());
        assert!(granted < 1000, "no limit is ever spent");
        if wait.is_some_and(|wait| wait >= 3) {
            break told;
        }
    };
    assert_eq!(told["error"], "temporarily_unavailable");
    assert_eq!(told["state"], "xyz");
    assert_eq!(told["iss"], "https://localhost");
    // For all apps together, and for this one person.
    let told = said(&person.open(&HOUSE.request("openid", &[])).await.expect(303));
    assert_eq!(told["error"], "temporarily_unavailable");
    let bob = Person::signed_in(caller.clone(), "bob").await;
    HOUSE.tokens(&caller, &bob, "openid").await;

    let options = SqliteConnectOptions::new().filename(gateway.folder().path("data/portcullis.db"));
    let mut store = options.connect().await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM codes")
        .fetch_one(&mut store)
        .await
        .unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), granted + 1);
}

/// The one number that an error says.
fn seconds(description: &str) -> u32 {
    let mut numbers = description.split(' ').filter_map(|word| word.parse().ok());
    numbers.next().unwrap()
}
