//! Where a browser goes on after its sign-in. It comes with a link, so that anybody may have written it: a
//! place that is not of this house is refused, not visited (RFC 9700 §4.11, open redirectors).
//!
//! On another host than that of `public_url` the browser is not known by its cookie. It left one there before
//! it came, whose hash is with the link, and goes on with a ticket that is good for that browser alone.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use http::header;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::account::login::SignedInBrowser;
use crate::account::unavailable;
use crate::domain::ClientId;
use crate::domain::SessionId;
use crate::domain::TokenHash;
use crate::intake::Fields;
use crate::page::Target;
use crate::portal::Portal;
use crate::portal::accept::TICKET;
use crate::portal::see_other;
use crate::problem::Problem;
use crate::store::StoredTicket;
use crate::token::binding;
use crate::token::binding::Binding;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;

/// A place of this house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo {
    url: Url,
    /// The browser, as it is known on the host of the URL, where that is another.
    binding: Option<TokenHash>,
}

/// How long a browser may take from the one host to the other.
const TICKET_TTL: Duration = Duration::from_secs(30);

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
        let url = Self::parse(portal, sent).ok_or_else(|| {
            let detail = "The link that brought you here would lead to a place that is not ours after signing \
                          in. Go to the app and start from there.";
            Problem::new(StatusCode::BAD_REQUEST, "return_to_refused", detail)
        })?;
        Ok(Self {
            url,
            binding: fields.get(Binding::NAME).and_then(binding::read),
        })
    }

    /// A page of ours, by its path and query.
    pub fn page(portal: &Portal, target: &str) -> Self {
        let url = portal.public_url().join(target);
        let url = url.unwrap_or_else(|_| portal.public_url().clone());
        let is_ours = url.origin() == portal.public_url().origin();
        let url = if is_ours {
            url
        } else {
            portal.public_url().clone()
        };
        Self { url, binding: None }
    }

    fn parse(portal: &Portal, sent: &str) -> Option<Url> {
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
        portal.hosts.leads_to(&url).then_some(url)
    }

    /// The answer that lets a browser go on, which is signed in by now.
    ///
    /// # Errors
    ///
    /// 503.
    pub async fn go_on(&self, portal: &Portal, session: SessionId) -> Result<Response, Problem> {
        // Without a binding it goes there as it is, and the gate sends it here again with one.
        let (Some(host), Some(binding)) = (self.other_host(portal), self.binding) else {
            return Ok(see_other(self.as_seen(portal)));
        };
        let accounts = &portal.accounts;
        let ticket = OneUse::fresh(&accounts.vault, Kind::Ticket);
        let now = accounts.clock.now();
        let stored = StoredTicket {
            session,
            host: host.to_owned(),
            binding,
            return_to: self.url.as_str().to_owned(),
            expires_at: now + TICKET_TTL,
        };
        let kept = accounts.store.keep_ticket(ticket.hash(), &stored, now);
        kept.await.map_err(|error| unavailable(&error))?;
        let ticket = ticket.reveal();
        let target = format!("{}?{TICKET}={ticket}", portal.path("session/accept"));
        Ok(see_other(&portal.hosts.url(host, &target)))
    }

    /// The same, for a browser that was signed in just now. If it cannot go on at once, it is shown the way
    /// again.
    pub async fn go_on_signed_in(&self, portal: &Portal, signed_in: SignedInBrowser) -> Response {
        let going_on = self.go_on(portal, signed_in.session).await;
        let mut response = going_on.unwrap_or_else(|_| see_other(&self.sign_in(portal)));
        let headers = response.headers_mut();
        headers.append(header::SET_COOKIE, signed_in.cookie);
        response
    }

    /// The hidden fields that keep it in a form.
    pub fn kept(&self, portal: &Portal) -> Vec<(&'static str, String)> {
        let mut kept = vec![(Self::NAME, self.as_seen(portal).to_owned())];
        kept.extend(
            self.binding
                .map(|hash| (Binding::NAME, binding::written(hash))),
        );
        kept
    }

    /// The sign-in page that leads there.
    pub fn sign_in(&self, portal: &Portal) -> String {
        self.by_way_of(portal, "login")
    }

    /// A page of ours that leads there.
    pub(super) fn by_way_of(&self, portal: &Portal, page: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.kept(portal));
        format!("{}?{}", portal.path(page), query.finish())
    }

    /// As a `Location`, a hidden field or a parameter: only path and query, where it is on `public_url`, so
    /// that whoever reaches us by another port stays there.
    pub(super) fn as_seen<'a>(&'a self, portal: &Portal) -> &'a str {
        let all = self.url.as_str();
        let origin = portal.public_url().as_str().trim_end_matches('/');
        match all.strip_prefix(origin) {
            // A path with two slashes at its start would be another host's name.
            Some(target) if target.starts_with('/') && !target.starts_with("//") => target,
            _ => all,
        }
    }

    /// Where a form that goes on there may lead: to an app, on this host or another of ours; or to a client,
    /// because an authorization request sends the browser on at once where no consent is needed. The name in it
    /// may be anybody's; it opens nothing but this one form, to a place that `oauth/authorize` must still agree
    /// to.
    pub(super) fn leads_to(&self, portal: &Portal) -> Vec<Target> {
        let redirect = self.asks_for(portal, "redirect_uri");
        let redirect = redirect.and_then(|uri| Url::parse(&uri).ok());
        vec![Target::of(redirect.as_ref().unwrap_or(&self.url))]
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
        let is_public = self.other_host(portal).is_none();
        let is_request = is_public && self.url.path() == portal.path("oauth/authorize");
        let mut pairs = self.url.query_pairs().filter(|_| is_request);
        let (_, value) = pairs.find(|(sent, _)| sent == name)?;
        Some(value.into_owned())
    }

    /// The host, where it is another than that of `public_url`.
    fn other_host(&self, portal: &Portal) -> Option<&str> {
        let host = self.url.host_str();
        host.filter(|host| !portal.hosts.is_public(host))
    }
}
