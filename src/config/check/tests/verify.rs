//! `[verify]`, and routes that only whoever asks there needs.

use crate::config::Target;
use crate::config::check::tests::bad;
use crate::config::check::tests::good;

const CALLERS: &str = "[verify]\ncallers = [\"127.0.0.1\", \"10.0.0.0/8\"]\n";

#[test]
fn nobody_asks_who_is_not_named() {
    assert!(good("").config.verify.is_none());
    let verify = good(CALLERS).config.verify.unwrap();
    let callers: Vec<_> = verify.callers.iter().map(ToString::to_string).collect();
    assert_eq!(callers, ["127.0.0.1/32", "10.0.0.0/8"]);

    bad("[verify]", &[("6:1", "`callers` is missing")]);
    bad("[verify]\ncallers = []", &[("7:11", "nobody could ask")]);
    bad("[verify]\ncallers = [\"nginx\"]", &[("7:12", "a network")]);
    bad(
        "[verify]\ncaller = [\"127.0.0.1\"]",
        &[("6:1", "is missing"), ("7:1", "did you mean `callers`?")],
    );
    for anybody in ["0.0.0.0/0", "::/0"] {
        let loaded = good(&format!("[verify]\ncallers = [\"{anybody}\"]"));
        let warned = |text| {
            let mut warnings = loaded.warnings.iter();
            warnings.any(|warning| warning.message.contains(text))
        };
        assert!(warned("anybody may ask"), "{:?}", loaded.warnings);
    }
}

// SECURITY 7
#[test]
fn only_a_route_that_somebody_may_ask_about_goes_without_an_upstream() {
    const ROUTE: &str = "[routes.app]\npath = \"/app\"\n";
    bad(ROUTE, &[("6:1", "`upstream` is missing")]);
    let loaded = good(&format!(
        "{CALLERS}{ROUTE}[routes.app.paths.\"/app/open\"]\nauth = \"none\""
    ));
    let targets: Vec<_> = loaded
        .config
        .routes
        .iter()
        .map(|route| &route.target)
        .collect();
    assert_eq!(targets, [&Target::Verify, &Target::Verify]);
    bad(
        &format!("{CALLERS}{ROUTE}upstream = \"ecco\""),
        &[("10:12", "did you mean \"echo\"?")],
    );
}

#[test]
fn what_changes_nothing_without_an_upstream_is_told() {
    let loaded = good(&format!(
        "{CALLERS}[routes.app]\npath = \"/app\"\nstrip_prefix = true\nclient_certificates = \"any\"\n\
         request_headers.set = {{ \"X-Tenant\" = \"acme\" }}"
    ));
    let told: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| &*warning.message)
        .collect();
    for words in [
        "its `rewrite` changes nothing",
        "its `request_headers` changes nothing",
        "cannot show that of its client",
    ] {
        assert!(told.iter().any(|told| told.contains(words)), "{told:?}");
    }
}
