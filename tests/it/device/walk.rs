//! A real browser on the pages: somebody lets a device in, or refuses it, and is signed out by its app.

use serde_json::json;

use crate::device::Device;
use crate::device::PAGE;
use crate::device::expect_error;
use crate::harness::browser::browse;
use crate::harness::browser::screenshots;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

// SECURITY 43, 46
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_lets_a_device_in_and_is_signed_out_without_javascript() {
    let app = Upstream::start().await;
    let gateway = Gateway::start_at_its_url(&format!(
        r#"
        [clients.tv]
        name = "Living Room TV"
        public = true
        grants = ["device_code"]
        scopes = ["openid", "profile", "notes:read"]
        post_logout_redirect_uris = ["{}/bye"]
        "#,
        app.url()
    ));
    let caller = gateway.anonymous();
    let mut devices = Vec::new();
    let mut looks = Vec::new();
    for (width, scheme, decision) in [(390, "light", "Allow"), (1280, "dark", "Deny")] {
        let username = format!("alice{width}");
        caller.register(&username).await;
        let device = Device::of(&caller, "tv", &[]).await;
        assert_eq!(device.uri, format!("{}{PAGE}", gateway.url()));
        looks.push(json!({
            "width": width,
            "scheme": scheme,
            "decision": decision,
            "username": username,
            "page": device.uri,
            "shows": device.shows,
        }));
        devices.push(device);
    }
    let told = json!({
        "origin": gateway.url(),
        "app": app.url(),
        "password": PASSWORD,
        "looks": looks,
        "folder": screenshots(),
    });
    let Some(answer) = browse("device.mjs", &told).await else {
        return;
    };
    assert_eq!(answer["wrong"], json!([]), "{answer:#}");
    devices[0].polls().await.expect(200);
    expect_error(&devices[1].polls().await, 400, "access_denied");
    let left = app.requests().into_iter();
    let left = left.filter(|request| request.target == "/bye?state=a+b");
    assert_eq!(left.count(), 2);
}
