//! Which route a request takes: host, then longest path, then method; nothing falls through.

use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

// SECURITY 7
#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_a_404_and_reaches_nothing() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\npath = '/app'\nauth = 'none'\nupstream = '{}'",
        app.url()
    ));
    let caller = gateway.anonymous();

    caller.get("/app").await.expect(200);
    assert_eq!(app.only().target, "/app");

    for path in ["/", "/other", "/appendix", "/App"] {
        caller.get(path).await.expect_problem(404, "no_route");
    }
    app.assert_untouched();
}
