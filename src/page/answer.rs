//! From a view to the answer: HTML under a strict policy (SECURITY 46).
//!
//! It must never let a page be framed, cached, run a script or load anything from elsewhere.

use std::collections::BTreeSet;

use askama::Template;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use crate::page::Form;

/// One page.
pub trait View: Template {
    /// Its forms.
    fn forms(&self) -> Vec<&Form>;
}

/// What every page says about itself.
///
/// `same-origin`, not `no-referrer`: under the latter browsers send `Origin: null` with a form (Fetch
/// §3.2), and its answer could not be told from a forged one. No `Cross-Origin-Opener-Policy`: an app may have
/// people sign in in a window of its own, and its page at the end has to find the one that opened it.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The answer that shows a page.
pub fn answer<B: From<String>>(status: StatusCode, view: &impl View) -> Response<B> {
    let policy = policy(&view.forms());
    // A view has strings and numbers only: there is nothing in it that could fail to be written.
    let html = view.render().unwrap_or_default();
    let mut response = Response::new(B::from(html));
    *response.status_mut() = status;
    response.headers_mut().extend(HEADERS);
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Browsers hold the redirects that answer a form to `form-action` as well (CSP Level 3 §6.4.2), so it names
/// where the page's forms may lead. Some hold to it whatever redirects follow, also those of whom it led to: an
/// app that sends people on to another host would seem to do nothing. Where a form leads away from here, it may
/// so lead on by https to wherever that says. A page without forms may send nothing anywhere.
fn policy(forms: &[&Form]) -> HeaderValue {
    let start = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; \
                 base-uri 'none'; form-action";
    let targets: BTreeSet<_> = forms.iter().flat_map(|form| &form.leads_to).collect();
    let mut policy = start.to_owned();
    policy.push_str(if forms.is_empty() {
        " 'none'"
    } else {
        " 'self'"
    });
    for target in &targets {
        policy.push(' ');
        policy.push_str(target.as_str());
    }
    if !targets.is_empty() {
        policy.push_str(" https:");
    }
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}
