//! Every page, in every state, as Chromium shows it without JavaScript and as axe judges it.

mod gallery;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use http_body_util::Full;
use serde_json::json;

use portcullis::page::Look;
use portcullis::page::Target;

use crate::harness::browser::browse;
use crate::harness::browser::screenshots;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

type Pages = BTreeMap<String, Response<String>>;

/// Serves some pages by name, and the files of their look.
async fn serve(pages: Pages, looks: Vec<Look>) -> String {
    let upstream = Upstream::answering(move |request| {
        if let Some(asset) = looks.iter().find_map(|look| look.asset(&request.target)) {
            return asset.answer();
        }
        match pages.get(request.target.trim_start_matches('/')) {
            Some(page) => page.clone().map(|html| Full::new(Bytes::from(html))),
            None => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    })
    .await;
    upstream.url()
}

/// The files of a look are served to anybody, for ever, and under their own names only.
async fn files_are_served(gateway: &Gateway, folder: &str) {
    let look = gallery::house_at(folder);
    for asset in [look.style(), look.icon()] {
        let answer = gateway.anonymous().get(asset.href()).await.expect(200);
        assert!(answer.header("cache-control").ends_with("immutable"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").contains("sandbox"));
    }
    let style = look.style().href();
    let answer = gateway.anonymous().get(style).await;
    assert!(
        answer.text().contains("--accent:#17695b;"),
        "{}",
        answer.text()
    );
    let old = style.replace("style-", "style-x");
    for missing in [
        old,
        format!("{folder}/..%2fgateway.toml"),
        format!("{folder}/"),
    ] {
        let answer = gateway.anonymous().get(&missing).await;
        assert!([400, 404].contains(&answer.status), "{missing}");
    }
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_pages_are_our_own() {
    let gateway = Gateway::start("");
    files_are_served(&gateway, "/auth/assets").await;

    let upstream = Upstream::start().await;
    let at_root = Gateway::start(&format!(
        "[gateway]\nprefix = \"\"\n[routes.app]\npath = \"/\"\nauth = \"none\"\nupstream = \"{}\"",
        upstream.url()
    ));
    files_are_served(&at_root, "/portcullis-assets").await;
    upstream.assert_untouched();
    at_root
        .anonymous()
        .get("/assets/style.css")
        .await
        .expect(200);
    assert_eq!(upstream.only().target, "/assets/style.css");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_has_its_logo_and_no_script_in_it() {
    let folder = Folder::with(
        "[brand]\nname = \"Sunflower Works\"\nlogo = \"logo.svg\"\ncolour = \"#f2b705\"",
    );
    folder.write("logo.svg", gallery::LOGO);
    let gateway = Gateway::start_in(&folder);
    let logo = gallery::other_house();
    let logo = logo.logo().unwrap().href();
    let answer = gateway.anonymous().get(logo).await.expect(200);
    assert_eq!(answer.text(), gallery::LOGO);
    assert_eq!(answer.header("content-type"), "image/svg+xml");
    assert_eq!(
        answer.header("content-security-policy"),
        "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    );
}

// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_use_every_page() {
    let (house, other) = (gallery::house(), gallery::other_house());
    let mut pages = gallery::of(&house, "");
    pages.extend(gallery::of_another_house(&other));
    let names: Vec<_> = pages.keys().cloned().collect();
    let origin = serve(pages, vec![house, other]).await;
    let told = json!({
        "origin": origin,
        "pages": names,
        "widths": [320, 390, 1280],
        "schemes": ["light", "dark"],
        "folder": screenshots(),
    });
    let Some(answer) = browse("gallery.mjs", &told).await else {
        return;
    };
    assert_eq!(answer["wrong"], json!([]), "{answer:#}");
}

/// Without this, a browser that looks at nothing would find nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_page_is_seen() {
    let page = |html: &str| Response::new(format!("<!doctype html><html lang=en>{html}"));
    let body = "<title>x</title><main><h1>x</h1>";
    let mut framed = page(&format!("{body}<img alt='' src='/picture.svg'>"));
    framed.headers_mut().insert(
        "content-security-policy",
        "default-src 'none'".parse().unwrap(),
    );
    let pages = BTreeMap::from([
        ("good".to_owned(), page(body)),
        ("unlabelled".to_owned(), page(&format!("{body}<input>"))),
        (
            "wide".to_owned(),
            page(&format!("{body}<p style='width:2000px'>x</p>")),
        ),
        (
            "elsewhere".to_owned(),
            page(&format!(
                "{body}<img alt='' src='http://127.0.0.1:9/x.png'>"
            )),
        ),
        ("refused".to_owned(), framed),
    ]);
    let names: Vec<_> = pages.keys().cloned().collect();
    let origin = serve(pages, Vec::new()).await;
    let told = json!({
        "origin": origin,
        "pages": names,
        "widths": [320],
        "schemes": ["light"],
    });
    let Some(answer) = browse("gallery.mjs", &told).await else {
        return;
    };
    let wrong: Vec<_> = answer["wrong"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wrong| wrong.as_str().unwrap())
        .collect();
    let said = |part: &str| wrong.iter().any(|wrong| wrong.contains(part));
    assert!(
        said("unlabelled, 320 px, light: label: <input>"),
        "{wrong:#?}"
    );
    assert!(said("wide, 320 px, light: 1"), "{wrong:#?}");
    assert!(
        said("elsewhere, 320 px, light: left the origin"),
        "{wrong:#?}"
    );
    assert!(said("refused, 320 px, light: browser: "), "{wrong:#?}");
    assert!(!said("good, "), "{wrong:#?}");
}

/// Browsers hold the redirect that answers a form to the page's policy, and say from where it was sent.
// SECURITY 46
#[tokio::test(flavor = "multi_thread")]
async fn a_form_leads_where_its_page_says_and_nowhere_else() {
    let app = Upstream::start().await;
    let callback = format!("{}/cb?code=x", app.url());
    let look = gallery::house();
    let target = Target::of(&callback.parse().unwrap());
    let pages = BTreeMap::from([
        ("meant", gallery::consent_leading_to(&look, vec![target])),
        ("not-meant", gallery::consent_leading_to(&look, Vec::new())),
    ]);
    let gateway = Upstream::answering(move |request| {
        if let Some(asset) = look.asset(&request.target) {
            return asset.answer();
        }
        if request.method == "POST" {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response
                .headers_mut()
                .insert("location", callback.parse().unwrap());
            return response;
        }
        let page = &pages[request.target.trim_start_matches('/')];
        page.clone().map(|html| Full::new(Bytes::from(html)))
    })
    .await;
    let origin = gateway.url();
    let meant = format!("{origin}/meant");
    let not_meant = format!("{origin}/not-meant");
    let told = json!({
        "origins": [origin, app.url()],
        "pages": [meant, not_meant],
        "button": "Allow",
    });
    let Some(led) = browse("form.mjs", &told).await else {
        return;
    };
    assert_eq!(led[&meant]["at"], json!(format!("{}/cb?code=x", app.url())));
    assert_eq!(led[&not_meant]["at"], json!(not_meant), "{led:#}");
    assert!(
        led[&not_meant]["wrong"].to_string().contains("form-action"),
        "{led:#}"
    );
    let posts: Vec<_> = gateway
        .requests()
        .into_iter()
        .filter(|request| request.method == "POST")
        .collect();
    assert!(!posts.is_empty());
    for post in posts {
        assert_eq!(post.header("origin"), origin);
        let body = str::from_utf8(&post.body).unwrap();
        assert_eq!(
            body,
            "csrf=m9T2cA&return_to=%2Fnotes%3Fa%3D1%26b%3D2&decision=allow"
        );
    }
    let answers = app.requests().into_iter();
    // A browser asks each origin for an icon, too.
    let answers = answers.filter(|request| request.target == "/cb?code=x");
    assert_eq!(answers.count(), 1, "{led:#}");
}
