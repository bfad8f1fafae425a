//! No file descriptor left: what comes waits, what needs one fails, and everything goes on afterwards.

use tokio::net::TcpStream;

use crate::harness::binary::Served;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::raw::Raw;
use crate::harness::raw::tls_over;
use crate::harness::upstream::Upstream;

const CANNOT: &str = "cannot accept connections";

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_nothing_is_lost() {
    let (app, other) = (Upstream::start().await, Upstream::start().await);
    let folder = Folder::with(&format!(
        r#"
        [defaults]
        auth = "none"
        [routes.app]
        path = "/app"
        upstream = "{}"
        [routes.other]
        path = "/other"
        upstream = "{}"
        "#,
        app.url(),
        other.url()
    ));
    let served = Served::start(&folder).await;
    let authority = std::fs::read(folder.path("certs/ca.pem")).unwrap();
    let connect = async || TcpStream::connect(served.address()).await.unwrap();
    let mut open = Raw::new(tls_over(connect().await, &authority, b"http/1.1").await);
    assert_eq!(open.ask(request("/app")).await.status(), 200);

    for round in 1..=2 {
        // Again and again, because something may be closed in between; the last one waits in any case.
        let waiting = eventually("the gateway to say that it cannot accept", async || {
            served.allow_no_descriptor_more();
            let waiting = connect().await;
            (served.said().matches(CANNOT).count() == round).then_some(waiting)
        })
        .await;
        // Whoever is there already is served, as far as that needs nothing new.
        assert_eq!(open.ask(request("/app")).await.status(), 200);
        let refused = open.ask(request("/other")).await;
        if round == 1 {
            assert!([502, 503].contains(&refused.status()), "{refused:?}");
            other.assert_untouched();
        }
        assert_eq!(served.said().matches(CANNOT).count(), round);

        served.allow_descriptors();
        let mut waiting = Raw::new(tls_over(waiting, &authority, b"http/1.1").await);
        assert_eq!(waiting.ask(request("/other")).await.status(), 200);
        assert_eq!(open.ask(request("/other")).await.status(), 200);
        served.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(
        served.said().matches("accepting connections again").count(),
        2
    );
}
