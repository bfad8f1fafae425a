//! Where a browser goes on after its sign-in. It comes with a link, so that anybody may have written it: a
//! place that is not of this house is refused, not visited (RFC 9700 §4.11, open redirectors).

use http::StatusCode;
use url::Url;

use crate::domain::ClientId;
use crate::intake::Fields;
use crate::page::Target;
use crate::portal::Portal;
use crate::problem::Problem;

/// A place of this house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(Url);

impl ReturnTo {
    /// The name of the parameter, and of the hidden field that keeps it.
    pub const NAME: &'static str = "return_to";

    /// Reads the parameter. Whoever says nothing goes to their account.
    ///
    /// # Errors
    ///
    /// 400 where it is no place of this house.
    pub fn read(portal: &Portal, fields: &Fields) -> Result<Self, Problem> {
        let Some(sent) = fields.get(Self::NAME) else {
            return Ok(Self::page(portal, &portal.path("account")));
        };
        Self::parse(portal, sent).ok_or_else(|| {
            let detail = "The link that brought you here would lead to a place that is not ours after signing \
                          in. Go to the app and start from there.";
            Problem::new(StatusCode::BAD_REQUEST, "return_to_refused", detail)
        })
    }

    /// A page of ours, by its path and query.
    pub fn page(portal: &Portal, target: &str) -> Self {
        let url = portal.public_url().join(target);
        let url = url.unwrap_or_else(|_| portal.public_url().clone());
        let is_ours = url.origin() == portal.public_url().origin();
        Self(if is_ours {
            url
        } else {
            portal.public_url().clone()
        })
    }

    fn parse(portal: &Portal, sent: &str) -> Option<Self> {
        // The parser would take a backslash for a slash, and drop tabs and line ends, as browsers do.
        let is_plain = sent
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !is_plain {
            return None;
        }
        let is_path = sent.starts_with('/') && !sent.starts_with("//");
        let url = if is_path {
            portal.public_url().join(sent).ok()?
        } else {
            Url::parse(sent).ok()?
        };
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let is_ours = url.origin() == portal.public_url().origin();
        (is_ours && is_anonymous).then_some(Self(url))
    }

    /// The sign-in page that leads there.
    pub fn sign_in(&self, portal: &Portal) -> String {
        self.by_way_of(portal, "login")
    }

    /// A page of ours that leads there.
    pub(super) fn by_way_of(&self, portal: &Portal, page: &str) -> String {
        let kept = url::form_urlencoded::byte_serialize(self.as_seen(portal).as_bytes());
        let kept: String = kept.collect();
        format!("{}?{}={kept}", portal.path(page), Self::NAME)
    }

    /// As a `Location`, a hidden field or a parameter: only path and query, where it is on `public_url`, so
    /// that whoever reaches us by another port stays there.
    pub(super) fn as_seen<'a>(&'a self, portal: &Portal) -> &'a str {
        let all = self.0.as_str();
        let origin = portal.public_url().as_str().trim_end_matches('/');
        match all.strip_prefix(origin) {
            // A path with two slashes at its start would be another host's name.
            Some(target) if target.starts_with('/') && !target.starts_with("//") => target,
            _ => all,
        }
    }

    /// Where a form that goes on there may lead: an authorization request sends the browser on to its client
    /// at once, if the client needs no consent. The name in it may be anybody's; it opens nothing but this
    /// one form, to a place that `oauth/authorize` must still agree to.
    pub(super) fn leads_to(&self, portal: &Portal) -> Vec<Target> {
        let redirect = self.asks_for(portal, "redirect_uri");
        let redirect = redirect.and_then(|uri| Url::parse(&uri).ok());
        redirect.iter().map(Target::of).collect()
    }

    /// What the page that leads there says that it is for: the client of an authorization request, as it is
    /// registered. Nobody can write words of their own into our page.
    pub(super) async fn on_behalf_of(&self, portal: &Portal) -> Option<String> {
        let id = self.asks_for(portal, "client_id")?;
        let client = portal.client(&ClientId::parse(&id).ok()?).await;
        // Without the store there is no sign-in either, and whoever tries is told.
        Some(client.ok()??.title().to_owned())
    }

    fn asks_for(&self, portal: &Portal, name: &str) -> Option<String> {
        let is_request = self.0.path() == portal.path("oauth/authorize");
        let mut pairs = self.0.query_pairs().filter(|_| is_request);
        let (_, value) = pairs.find(|(sent, _)| sent == name)?;
        Some(value.into_owned())
    }
}
