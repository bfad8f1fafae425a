//! Bodies of our own endpoints: JSON of their one form, and nothing that could be read in two ways.

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

/// An endpoint that takes a body, and a body that it would take.
struct Endpoint {
    path: &'static str,
    fine: Value,
    /// What may be left out.
    optional: &'static [&'static str],
}

fn endpoints(alice: &Caller) -> [Endpoint; 5] {
    let endpoint = |path, fine, optional| Endpoint {
        path,
        fine,
        optional,
    };
    [
        endpoint(
            "/auth/register",
            json!({ "username": "mallory", "name": "M.", "password": PASSWORD }),
            &["username", "name"],
        ),
        endpoint(
            "/auth/login",
            json!({ "username": "alice", "scope": "notes:read", "password": PASSWORD }),
            &["username", "scope"],
        ),
        endpoint(
            "/auth/refresh",
            json!({ "refresh_token": alice.refresh_token() }),
            &[],
        ),
        endpoint(
            "/auth/password",
            json!({ "current_password": PASSWORD, "new_password": "quartz-lantern-drizzle-48" }),
            &[],
        ),
        endpoint("/auth/logout", json!({ "all": true }), &["all"]),
    ]
}

impl Endpoint {
    /// The fine body as text.
    fn text(&self) -> String {
        self.fine.to_string()
    }

    /// The fine body with some raw JSON in the place of one member's value.
    fn with(&self, member: &str, raw: &str) -> String {
        let mut fine = self.fine.clone();
        fine[member] = json!("PLACE");
        fine.to_string().replacen("\"PLACE\"", raw, 1)
    }

    fn without(&self, member: &str) -> String {
        let mut fine = self.fine.clone();
        fine.as_object_mut().unwrap().remove(member);
        fine.to_string()
    }

    fn members(&self) -> Vec<String> {
        self.fine.as_object().unwrap().keys().cloned().collect()
    }
}

/// Alice, an app that must not notice anything, and what is tried on each endpoint with her token.
struct Trial {
    gateway: Gateway,
    app: Upstream,
    alice: Caller,
}

impl Trial {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let gateway = Gateway::start(&format!(
            "[routes.app]\npath = '/app'\nupstream = '{}'",
            app.url()
        ));
        let alice = gateway.signed_in("alice").await;
        Self {
            gateway,
            app,
            alice,
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = self.alice.request(Method::POST, endpoint.path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.body(body.into())).await
    }

    async fn refused(
        &self,
        endpoint: &Endpoint,
        body: impl Into<Vec<u8>>,
        (status, code): (u16, &str),
    ) {
        let body = body.into();
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let answer = self.send(endpoint, &[JSON], body).await;
        let path = endpoint.path;
        assert_eq!(
            answer.status,
            status,
            "{path}: {shown:?}: {}",
            answer.text()
        );
        answer.expect_problem(status, code);
    }

    /// No account was made, no password changed, no session ended, nothing forwarded.
    async fn assert_nothing_happened(&self) {
        self.app.assert_untouched();
        let users = portcullis(self.gateway.folder(), &["user", "list", "--json"]).expect(0);
        let users: Value = serde_json::from_str(&users.stdout).unwrap();
        assert_eq!(users.as_array().unwrap().len(), 1, "{users}");
        self.alice.get("/app").await.expect(200);
        self.app.only();
        let again = json!({ "username": "alice", "password": PASSWORD });
        self.alice.post("/auth/login", &again).await.expect(200);
        let refreshed = self.alice.try_refresh(self.alice.refresh_token()).await;
        refreshed.expect(200);
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const NOT_JSON: (u16, &str) = (400, "bad_json");
const UNEXPECTED: (u16, &str) = (422, "unexpected_json");

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_say_json_is_not_read() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        for kinds in [
            &[][..],
            &[""],
            &["text/plain"],
            &["text/json"],
            &["application/x-www-form-urlencoded2"],
            &["multipart/form-data; boundary=x"],
            &["application/jsonp"],
            &["application/json5"],
            &["application/ld+json"],
            &["application/json-patch+json"],
            &["application/problem+json"],
            &["json"],
            &["*/*"],
            &["application/json, text/plain"],
            &["text/plain; application/json"],
            &["application/json charset=utf-8"],
            &["application/json; charset"],
            &["application/json; charset=utf-16"],
            &["application/json; charset = utf-16"],
            &["application/json; charset=\"UTF-16\""],
            &["application/json; charset=utf-8; charset=utf-7"],
            &["application/json;Charset=iso-8859-1"],
            &["application/json", "text/plain"],
            &["text/plain", "application/json"],
            &["application/json", "application/json"],
        ] {
            let headers: Vec<_> = kinds.iter().map(|kind| ("content-type", *kind)).collect();
            let answer = trial.send(&endpoint, &headers, endpoint.text()).await;
            let path = endpoint.path;
            assert_eq!(answer.status, 415, "{path}: {kinds:?}: {}", answer.text());
            assert_eq!(answer.header("accept"), "application/json");
            answer.expect_problem(415, "not_json");
        }
        for coding in ["gzip", "deflate", "br", "zstd", "identity", "x", "gzip, br"] {
            let headers = [JSON, ("content-encoding", coding)];
            let answer = trial.send(&endpoint, &headers, endpoint.text()).await;
            let path = endpoint.path;
            assert_eq!(answer.status, 415, "{path}: {coding}: {}", answer.text());
            assert_eq!(answer.header("accept-encoding"), "identity");
            answer.expect_problem(415, "encoded_body");
        }
    }
    trial.assert_nothing_happened().await;
}

/// Where there is a page whose form it could be, it is judged as that page's, and refused as none.
// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_no_page_of_ours_showed_is_not_read() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        for kind in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
        ] {
            let headers = [("content-type", kind)];
            // No form brings a token: whoever does is a program, and forgot what it is.
            let answer = trial.send(&endpoint, &headers, endpoint.text()).await;
            answer.expect_problem(415, "not_json");
            let nobody = trial.gateway.anonymous();
            let request = nobody.request(Method::POST, endpoint.path);
            let request = request.header("content-type", kind).body(endpoint.text());
            let answer = Answer::of(request).await;
            if endpoint.path == "/auth/refresh" {
                answer.expect_problem(415, "not_json");
            } else {
                answer.expect_page(403, "cross_site");
            }
        }
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_json_is_refused() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        let fine = endpoint.text();
        let first = &endpoint.members()[0];
        let utf16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            fine.encode_utf16().flat_map(to_bytes).collect()
        };
        let in_text = |bytes: &[u8]| {
            let body = endpoint.with(first, "\"?\"").into_bytes();
            let at = body.windows(3).position(|three| three == b"\"?\"").unwrap();
            [&body[..=at], bytes, &body[at + 2..]].concat()
        };
        for broken in [
            " ".into(),
            "{".into(),
            "{\"".into(),
            "nul".into(),
            "NaN".into(),
            "\0".into(),
            fine.as_bytes()[..fine.len() - 1].to_vec(),
            fine.replace('"', "'").into_bytes(),
            fine.replacen('}', ",}", 1).into_bytes(),
            fine.replacen('{', "{/**/", 1).into_bytes(),
            format!("{fine}x").into_bytes(),
            format!("{fine}{fine}").into_bytes(),
            format!("{fine},").into_bytes(),
            format!("{fine}\0").into_bytes(),
            format!("\u{feff}{fine}").into_bytes(),
            format!(")]}}'\n{fine}").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            [b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat(),
            endpoint.with(first, "NaN").into_bytes(),
            endpoint.with(first, "-Infinity").into_bytes(),
            endpoint.with(first, "1e999").into_bytes(),
            endpoint.with(first, "01").into_bytes(),
            endpoint.with(first, "\"\\ud800\"").into_bytes(),
            endpoint.with(first, "\"\\udc00\\ud800\"").into_bytes(),
            endpoint.with(first, "\"\\u12\"").into_bytes(),
            endpoint.with(first, "\"\\x41\"").into_bytes(),
            in_text(b"\xff"),
            in_text(b"\xc0\xaf"),
            in_text(b"\xed\xa0\x80"),
            in_text(b"\xf4\x90\x80\x80"),
            in_text(b"\0"),
            in_text(b"\r\n"),
        ] {
            trial.refused(&endpoint, broken, NOT_JSON).await;
        }
        // Where a body may be left out, nothing is no broken one.
        if endpoint.path != "/auth/logout" {
            trial.refused(&endpoint, "", NOT_JSON).await;
        }
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_another_form_is_refused() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        let fine = endpoint.text();
        let values: Vec<_> = endpoint.fine.as_object().unwrap().values().collect();
        for odd in [
            "null".to_owned(),
            "true".to_owned(),
            "1".to_owned(),
            "\"text\"".to_owned(),
            "[]".to_owned(),
            json!(values).to_string(),
            // In the order in which login and register declare their members.
            json!([null, "mallory", null, PASSWORD]).to_string(),
            json!([null, "alice", PASSWORD, null]).to_string(),
            format!("[{fine}]"),
            fine.replacen('{', "{\"admin\":true,", 1),
            fine.replacen('{', "{\"roles\":[\"admin\"],", 1),
            fine.replacen('{', "{\"__proto__\":{},", 1),
            fine.replacen('{', "{\"\":\"\",", 1),
            fine.replacen('{', &format!("{{\"{}\":1,", "x".repeat(10_000)), 1),
            fine.replacen('{', &format!("{{\"x\":{},", deep(100)), 1),
            deep(8_000),
        ] {
            trial.refused(&endpoint, odd, UNEXPECTED).await;
        }
        for member in endpoint.members() {
            if !endpoint.optional.contains(&&*member) {
                trial
                    .refused(&endpoint, endpoint.without(&member), UNEXPECTED)
                    .await;
                let null = endpoint.with(&member, "null");
                trial.refused(&endpoint, null, UNEXPECTED).await;
            }
            // Once as it is and once more: the same name, perhaps written otherwise.
            let (head, tail) = member.split_at(1);
            let escaped = format!("\\u{:04x}{tail}", u32::from(head.as_bytes()[0]));
            for name in [&member, &escaped] {
                let value = &endpoint.fine[&member];
                let twice = fine.replacen('{', &format!("{{\"{name}\":{value},"), 1);
                trial.refused(&endpoint, twice, UNEXPECTED).await;
            }
            let upper = fine.replace(&member, &member.to_uppercase());
            trial.refused(&endpoint, upper, UNEXPECTED).await;
            for value in [
                "1",
                "-1",
                "1.5",
                "123456789012345678901234567890",
                "{}",
                "[]",
            ] {
                let mistyped = endpoint.with(&member, value);
                trial.refused(&endpoint, mistyped, UNEXPECTED).await;
            }
            let other = if endpoint.fine[&member].is_string() {
                "true"
            } else {
                "\"true\""
            };
            let mistyped = endpoint.with(&member, other);
            trial.refused(&endpoint, mistyped, UNEXPECTED).await;
        }
    }
    trial.assert_nothing_happened().await;
}

/// Arrays in arrays.
fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test(flavor = "multi_thread")]
async fn however_deep_a_member_is_there_is_an_answer() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        for member in endpoint.members() {
            for open in ["[", "{\"a\":"] {
                let bottomless = endpoint.with(&member, &open.repeat(3_000));
                let answer = trial.send(&endpoint, &[JSON], bottomless).await;
                // Depending on what gives up first: depth, or the type.
                let (status, code) = match answer.status {
                    400 => NOT_JSON,
                    _ => UNEXPECTED,
                };
                answer.expect_problem(status, code);
            }
        }
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_sixteen_kilobytes_is_refused() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        let room = 16 * 1024 - endpoint.text().len();
        let padded = |blanks| endpoint.text() + &" ".repeat(blanks);
        trial
            .refused(&endpoint, padded(room + 1), (413, "body_too_large"))
            .await;

        // Announced, it is not waited for, and not asked for either.
        for claimed in ["16385", "99999999999", "999999999999999999"] {
            for expect in ["", "Expect: 100-continue\r\n"] {
                let head = format!(
                    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                     Content-Length: {claimed}\r\n{expect}\r\n",
                    endpoint.path
                );
                let refused = trial.gateway.raw().await.ask(head).await;
                let path = endpoint.path;
                assert_eq!(refused.status(), 413, "{path}: {claimed} {expect}");
                let problem: Value = serde_json::from_slice(&refused.body).unwrap();
                assert_eq!(problem["code"], "body_too_large");
            }
        }

        // The same where nobody was told beforehand how much it would be.
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            endpoint.path,
            trial.alice.token()
        );
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
        let endless = head + &chunk.repeat(5);
        let refused = trial.gateway.raw().await.ask(endless).await;
        assert_eq!(refused.status(), 413, "{}", endpoint.path);
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_what_it_is_in_more_than_one_way() {
    let trial = Trial::start().await;
    let login = &endpoints(&trial.alice)[1];
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=\"UTF-8\"",
        "application/json; charset=utf-8;",
        "application/json ; odata=verbose",
    ] {
        let headers = [("content-type", kind)];
        let answer = trial.send(login, &headers, login.text()).await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
    }
    // Blanks around it, escapes and absent members are as good as any other spelling.
    for body in [
        format!("\r\n\t {} \n", login.text()),
        login.text().replace("alice", "\\u0061lice"),
        login.with("scope", "null"),
        login.without("scope"),
    ] {
        let answer = trial.send(login, &[JSON], body.clone()).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_repeats_a_password() {
    let trial = Trial::start().await;
    let secret = "123123123123";
    for (path, body) in [
        (
            "/auth/login",
            json!({ "username": "alice", "password": 123_123_123_123_u64 }),
        ),
        (
            "/auth/login",
            json!({ "username": "alice", "password": [secret] }),
        ),
        (
            "/auth/register",
            json!({ "username": "mallory", "password": 123_123_123_123_u64 }),
        ),
        (
            "/auth/register",
            json!({ "username": "mallory", "password": secret }),
        ),
        (
            "/auth/register",
            json!({ "username": secret, "email": secret, "password": secret }),
        ),
        (
            "/auth/password",
            json!({ "current_password": PASSWORD, "new_password": secret }),
        ),
        (
            "/auth/password",
            json!({ "current_password": PASSWORD, "new_password": 123_123_123_123_u64 }),
        ),
        (
            "/auth/password",
            json!({ "current_password": 123_123_123_123_u64, "new_password": "" }),
        ),
    ] {
        let answer = trial.alice.post(path, &body).await.expect(422);
        assert!(!answer.text().contains(secret), "{body}: {}", answer.text());
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_makes_nothing() {
    let trial = Trial::start().await;
    for endpoint in endpoints(&trial.alice) {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n",
            endpoint.path,
            trial.alice.token()
        );
        let fine = endpoint.text();
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{fine}\r\n", fine.len());
        let broken = format!("{chunked}{chunk}zz\r\n");
        let answer = trial.gateway.raw().await.ask(broken).await;
        assert_eq!(answer.status(), 400, "{}", endpoint.path);

        // Every byte that matters has come, and then nobody is there any more.
        let length = fine.len() + 1;
        for gone in [
            format!("{chunked}{chunk}"),
            format!("{head}Content-Length: {length}\r\n\r\n{fine}"),
        ] {
            let mut raw = trial.gateway.raw().await;
            raw.send(gone).await;
            drop(raw);
        }
        eventually("the end of all three", async || {
            let lines = trial.gateway.log_lines();
            let failed = |line: &&Value| {
                line["path"] == endpoint.path && line["status"].as_u64() >= Some(400)
            };
            (lines.iter().filter(failed).count() == 3).then_some(())
        })
        .await;
    }
    trial.assert_nothing_happened().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_has_its_methods_and_no_others() {
    let trial = Trial::start().await;
    for (allow, paths) in [
        ("POST", &["/auth/refresh", "/auth/password"][..]),
        (
            "GET, HEAD, POST",
            &[
                "/auth/register",
                "/auth/login",
                "/auth/logout",
                "/auth/sessions",
            ],
        ),
        ("DELETE, POST", &["/auth/sessions/x"]),
        (
            "GET, HEAD",
            &["/auth/me", "/auth/account", "/.well-known/jwks.json"],
        ),
    ] {
        for path in paths {
            for method in [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY",
            ] {
                if allow.contains(method) {
                    continue;
                }
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let refused = Answer::of(trial.alice.request(method.clone(), path)).await;
                assert_eq!(refused.status, 405, "{method} {path}");
                assert_eq!(refused.header("allow"), allow);
                if method != Method::HEAD {
                    refused.expect_problem(405, "method_not_allowed");
                }
            }
        }
    }
    trial.assert_nothing_happened().await;
}
