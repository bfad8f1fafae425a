//! Who looks at a page, from where, and what they asked for.

use axum::extract::FromRequestParts;
use axum::response::IntoResponse as _;
use axum::response::Response;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::account::SignedIn;
use crate::authenticate::OpaqueSessions;
use crate::intake::Fields;
use crate::intake::NoFields;
use crate::intake::Origin;
use crate::page;
use crate::page::Form;
use crate::page::View;
use crate::portal::Declined;
use crate::portal::HasPortal;
use crate::portal::Portal;
use crate::portal::ReturnTo;
use crate::portal::csrf::Browser;
use crate::portal::see_other;
use crate::problem::Problem;
use crate::token::cookie::FORM_COOKIE;

/// One look at a page of ours. On another host than that of `public_url` it is sent there.
pub struct Visit {
    /// Where it came from.
    pub origin: Origin,
    /// Who, as their cookie says.
    pub signed_in: Option<SignedIn>,
    query: Fields,
    /// What is wrong with the query.
    fault: Option<NoFields>,
    /// The headers.
    pub headers: HeaderMap,
    pub(super) browser: Browser,
    /// Path and query as they were sent.
    target: String,
}

impl<S: HasPortal + Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Declined;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Declined> {
        let portal = state.portal();
        let origin = parts.extensions.get::<Origin>().cloned();
        let origin = origin.unwrap_or_else(Origin::unknown);
        let decline = |problem| Declined::new(portal, &origin, problem);
        let target = parts.uri.path_and_query();
        let target = target.map_or_else(String::new, |target| target.as_str().to_owned());
        if !portal.hosts.is_public(&origin.host) {
            if !matches!(parts.method, Method::GET | Method::HEAD) {
                let url = portal.public_url();
                let detail = format!("Pages are at {url} only: nothing was done.");
                let problem = Problem::new(StatusCode::FORBIDDEN, "cross_site", detail);
                return Err(decline(problem));
            }
            return Err(Declined::with(see_other(&portal.hosts.public(&target))));
        }
        let (query, fault) = Fields::with_fault(parts.uri.query().unwrap_or_default());
        let signed_in = SignedIn::by_cookie(&portal.accounts, &origin).await;
        let signed_in = signed_in.map_err(decline)?;
        Ok(Self {
            browser: Browser::known_by(origin.cookies.get(FORM_COOKIE)),
            headers: parts.headers.clone(),
            origin,
            signed_in,
            query,
            fault,
            target,
        })
    }
}

impl Visit {
    /// Whoever must be signed in to see the page, or the way to the sign-in page and back.
    ///
    /// # Errors
    ///
    /// The redirect.
    pub fn must_be_signed_in(&self, portal: &Portal) -> Result<&SignedIn, Declined> {
        self.signed_in.as_ref().ok_or_else(|| {
            let goal = ReturnTo::page(portal, &self.target);
            Declined::with(see_other(&goal.sign_in(portal)))
        })
    }

    /// The same, for what a form of the account page asks for. The way leads back to that page: there is
    /// none where its forms are posted.
    ///
    /// # Errors
    ///
    /// The redirect.
    pub fn must_be_signed_in_still(&self, portal: &Portal) -> Result<&SignedIn, Declined> {
        self.signed_in.as_ref().ok_or_else(|| {
            let goal = ReturnTo::page(portal, &portal.path("account"));
            Declined::with(see_other(&goal.sign_in(portal)))
        })
    }

    /// What the address says behind its `?`.
    ///
    /// # Errors
    ///
    /// 400 where it cannot be read, or says something twice.
    pub fn query(&self, portal: &Portal) -> Result<&Fields, Declined> {
        match &self.fault {
            None => Ok(&self.query),
            Some(fault) => {
                let detail = fault.to_string();
                let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail);
                Err(self.decline(portal, problem))
            }
        }
    }

    /// Where these fields say that the browser goes on to.
    ///
    /// # Errors
    ///
    /// 400 where it is no place of this house.
    pub fn goal(&self, portal: &Portal, fields: &Fields) -> Result<ReturnTo, Declined> {
        let goal = ReturnTo::read(portal, fields);
        goal.map_err(|problem| self.decline(portal, problem))
    }

    /// A form of ours, to be posted to this path.
    pub fn form(&self, portal: &Portal, action: String) -> Form {
        Form {
            action,
            csrf: portal.forms.token(&self.browser),
            ..Form::default()
        }
    }

    /// The same, shown to one person: see [`Posted::is_by_whom_it_was_shown_to`](crate::portal::Posted).
    pub fn form_for(
        &self,
        portal: &Portal,
        action: String,
        person: &SignedIn,
        kept: (&'static str, String),
    ) -> Form {
        let mut form = self.form(portal, action);
        form.kept = vec![kept, (PERSON, person.user.to_string())];
        form
    }

    /// The answer that shows a page, with the cookie that its forms need; a dead session's is taken away.
    pub fn show(&self, status: StatusCode, view: &impl View) -> Response {
        let mut response: Response = page::answer(status, view);
        let headers = response.headers_mut();
        if let Some(cookie) = self.browser.set_cookie() {
            headers.append(header::SET_COOKIE, cookie);
        }
        if self.signed_in.is_none() && self.origin.session.is_some() {
            headers.append(header::SET_COOKIE, OpaqueSessions::clear_cookie());
        }
        response
    }

    /// The same, where something did not work: with the status and the headers of what is said about it.
    pub fn show_again(&self, problem: Problem, view: &impl View) -> Response {
        let mut response = self.show(problem.status, view);
        for (name, value) in problem.headers {
            response.headers_mut().append(name, value);
        }
        response
    }

    /// A page that says why not.
    pub fn decline(&self, portal: &Portal, problem: Problem) -> Declined {
        Declined::new(portal, &self.origin, problem)
    }
}

/// The hidden field that says whom a form was shown to.
pub(super) const PERSON: &str = "person";

/// 303 with a cookie.
pub fn see_other_with(url: &str, cookie: http::HeaderValue) -> Response {
    let mut response = see_other(url).into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}
