//! Answers and escaping, on every kind of view that shows what strangers chose.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use url::Url;

use crate::config::Brand;
use crate::config::Colour;
use crate::problem;
use crate::problem::Problem;

use super::*;

const HOSTILE: &str = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>";

fn look(name: &str) -> Look {
    let brand = Brand {
        name: name.to_owned(),
        logo: None,
        colour: Colour::DEFAULT,
    };
    Look::new("/auth/assets", &brand).unwrap()
}

fn form(leads_to: &[&str]) -> Form {
    let targets = leads_to
        .iter()
        .map(|url| Target::of(&Url::parse(url).unwrap()));
    Form {
        action: "/auth/x".to_owned(),
        csrf: HOSTILE.to_owned(),
        kept: vec![("return_to", HOSTILE.to_owned())],
        leads_to: targets.collect(),
    }
}

fn consent<'a>(look: &'a Look, leads_to: &[&str]) -> Consent<'a> {
    Consent {
        look,
        form: form(leads_to),
        app: App {
            name: HOSTILE.to_owned(),
            host: Some(HOSTILE.to_owned()),
        },
        signed_in_as: HOSTILE.to_owned(),
        not_you: HOSTILE.to_owned(),
        scopes: vec![HOSTILE.to_owned()],
        used_at: Some(HOSTILE.to_owned()),
    }
}

fn shown(view: &impl View) -> Response<String> {
    answer(StatusCode::OK, view)
}

#[track_caller]
fn is_escaped(view: &impl View) {
    let html = shown(view).into_body();
    assert!(html.contains("alert(1)"), "nothing was shown: {html}");
    for raw in ["<script", "<img src=x", "</title><", "\"'>"] {
        assert!(!html.contains(raw), "{raw}: {html}");
    }
}

// SECURITY 46
#[test]
fn hostile_names_are_text_and_nothing_else() {
    let look = look(HOSTILE);
    let hostile = || HOSTILE.to_owned();
    let wrong = || Field {
        value: hostile(),
        error: Some(hostile()),
    };
    is_escaped(&consent(&look, &[]));
    is_escaped(&SignIn {
        look: &look,
        form: form(&[]),
        identifier: hostile(),
        notice: Some(Notice::error(HOSTILE)),
        continue_to: Some(hostile()),
        providers: vec![Link {
            text: hostile(),
            url: hostile(),
        }],
        register: Some(hostile()),
    });
    is_escaped(&Register {
        look: &look,
        form: form(&[]),
        notice: Some(Notice::done(HOSTILE)),
        email: wrong(),
        username: wrong(),
        name: wrong(),
        password: wrong(),
        password_length_min: 12,
        sign_in: hostile(),
    });
    is_escaped(&DeviceDone {
        look: &look,
        app: hostile(),
        is_allowed: true,
    });
    is_escaped(&SignOut {
        look: &look,
        form: form(&[]),
        asked_by: AskedBy::App(hostile()),
        signed_in_as: hostile(),
        cancel: hostile(),
    });
    let problem = Problem::new(StatusCode::BAD_REQUEST, "path_refused", HOSTILE);
    let html: Response<String> = Failure::answer(&look, problem, HOSTILE);
    assert!(!html.body().contains("<script"), "{}", html.body());
}

// SECURITY 46
#[test]
fn no_page_has_a_script_a_style_of_its_own_or_anything_from_elsewhere() {
    let page = shown(&consent(&look("Acme"), &["https://app.example.com/cb"]));
    let header = |name: &str| page.headers()[name].to_str().unwrap();
    assert_eq!(
        header("content-security-policy"),
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'self' https://app.example.com https:"
    );
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    for template in [
        include_str!("../../templates/layout.html"),
        include_str!("../../templates/parts.html"),
        include_str!("../../templates/account.html"),
        include_str!("../../templates/sign_in.html"),
        include_str!("../../templates/register.html"),
        include_str!("../../templates/link_account.html"),
        include_str!("../../templates/to_provider.html"),
        include_str!("../../templates/consent.html"),
        include_str!("../../templates/device_code.html"),
        include_str!("../../templates/device_confirm.html"),
        include_str!("../../templates/device_done.html"),
        include_str!("../../templates/sign_out.html"),
        include_str!("../../templates/signed_out.html"),
        include_str!("../../templates/failure.html"),
    ] {
        for never in [
            "<script", "style=", "<style", "|safe", "http:", "https:", " onclick",
        ] {
            assert!(!template.contains(never), "{never}: {template}");
        }
    }
}

#[test]
fn a_page_without_forms_sends_nothing_anywhere() {
    let look = look("Acme");
    let page = shown(&DeviceDone {
        look: &look,
        app: "TV".to_owned(),
        is_allowed: false,
    });
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.ends_with("form-action 'none'"), "{policy}");
}

#[test]
fn a_form_carries_its_action_and_what_it_keeps() {
    let look = look("Acme");
    let html = shown(&DeviceCode {
        look: &look,
        form: Form {
            action: "/auth/oauth/device".to_owned(),
            csrf: "abc".to_owned(),
            kept: vec![("return_to", "/x?a=1&b=2".to_owned())],
            leads_to: Vec::new(),
        },
        code: Field {
            value: "WDJB-MJHT".to_owned(),
            error: Some("There is no such code.".to_owned()),
        },
    })
    .into_body();
    for part in [
        "<form method=\"post\" action=\"/auth/oauth/device\">",
        "<input type=\"hidden\" name=\"csrf\" value=\"abc\">",
        "<input type=\"hidden\" name=\"return_to\" value=\"/x?a=1&#38;b=2\">",
        "aria-invalid=\"true\" aria-describedby=\"user_code-error user_code-hint\"",
        "id=\"user_code-error\"",
        "<title>Error: Connect a device · Acme</title>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
}

#[test]
fn a_wrong_field_is_named_at_the_top_and_told_where_it_is() {
    let look = look("Acme");
    let mut view = Register {
        look: &look,
        form: form(&[]),
        notice: None,
        email: Field::default(),
        username: Field::default(),
        name: Field::default(),
        password: Field {
            value: "hunter2".to_owned(),
            error: None,
        },
        password_length_min: 12,
        sign_in: "/auth/login".to_owned(),
    };
    let blamed = |name| problem::Field {
        name,
        detail: "It is too short.".into(),
    };
    view.blame(&[blamed("password"), blamed("no_such_field")]);
    let html = shown(&view).into_body();
    assert!(html.contains("<a href=\"#password\">Password</a>: It is too short."));
    assert!(html.contains("aria-describedby=\"password-error password-hint\""));
    assert!(!html.contains("hunter2"), "a password is never shown again");
}

#[test]
fn a_refusal_is_a_page_with_the_same_status_and_headers() {
    let look = look("Acme");
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Sign in first.",
    )
    .with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"a\""),
    )
    .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
    .retry_after(7);
    let page: Response<Bytes> = {
        let (parts, body) = Failure::answer::<String>(&look, problem, "req-1").into_parts();
        Response::from_parts(parts, body.into())
    };
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(page.headers()["www-authenticate"], "Bearer realm=\"a\"");
    assert_eq!(page.headers()["retry-after"], "7");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let html = str::from_utf8(page.body()).unwrap();
    for part in ["Sign in first.", "unauthenticated", "req-1"] {
        assert!(html.contains(part), "{part}: {html}");
    }
}
