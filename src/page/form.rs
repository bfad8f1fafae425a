//! What views have in common: forms and where they lead, fields, messages, times.
//!
//! A form says beforehand where it may lead, because browsers hold its answer's redirects to that.

use std::time::Duration;
use std::time::SystemTime;

use url::Host;
use url::Url;

/// One form: where it is sent, and what it carries unseen.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Where it is posted: a path of ours.
    pub action: String,
    /// The value of the hidden field `csrf`.
    pub csrf: String,
    /// Further hidden fields by name and value, such as `return_to`.
    pub kept: Vec<(&'static str, String)>,
    /// Where its answer may redirect to beside ourselves, directly or by way of our own endpoints: the
    /// client's `redirect_uri`, or another host that a sign-in continues on.
    pub leads_to: Vec<Target>,
}

/// A place that a form may lead to, as a source of `form-action` (CSP Level 3 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(String);

impl Target {
    /// Where a redirect to this URL arrives. What the policy's grammar has no word for (an IPv6
    /// address, a host with odd characters) is admitted by its scheme alone, as is an app's own scheme.
    pub fn of(url: &Url) -> Self {
        let scheme = url.scheme();
        let is_web = matches!(scheme, "https" | "http");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let host = match url.host() {
            Some(Host::Domain(name)) if name.bytes().all(plain) => Some(name.to_owned()),
            Some(Host::Ipv4(address)) => Some(address.to_string()),
            _ => None,
        };
        let source = match (host.filter(|_| is_web), url.port()) {
            (Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
            (Some(host), None) => format!("{scheme}://{host}"),
            (None, _) => format!("{scheme}:"),
        };
        Self(source)
    }

    /// As it stands in the policy.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was typed into a field, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// What it is filled with again. Always empty for a password.
    pub value: String,
    /// What is wrong and what would be right.
    pub error: Option<String>,
}

/// A way out of a page: an address and its words.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its words.
    pub text: String,
    /// Where it leads.
    pub url: String,
}

/// A message at the top of a page.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// One sentence or two.
    pub text: String,
}

impl Notice {
    /// Something did not work.
    pub fn error(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            tone: Tone::Error,
            text,
        }
    }

    /// Something was done.
    pub fn done(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            tone: Tone::Done,
            text,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.tone == Tone::Error
    }
}

/// How a message is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something did not work.
    Error,
    /// Something was done.
    Done,
}

/// An app that asks for something, or holds it.
#[derive(Clone, Debug)]
pub struct App {
    /// The client's name. Whoever made the client chose it.
    pub name: String,
    /// The host that answers are sent to: what a person can check.
    pub host: Option<String>,
}

impl App {
    /// What a person can check of where they are sent: host and port, or the scheme of an app of their own.
    pub fn place(url: &Url) -> String {
        match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => url.scheme().to_owned(),
        }
    }
}

/// A moment, in words and for machines.
#[derive(Clone, Debug)]
pub struct When {
    /// For people: `5 minutes ago`, or the day.
    pub words: String,
    /// For `datetime`, in UTC.
    pub machine: String,
}

impl When {
    /// How long ago something was.
    pub fn past(at: SystemTime, now: SystemTime) -> Self {
        let machine = humantime::format_rfc3339_seconds(at).to_string();
        let day = machine.split('T').next().unwrap_or_default();
        let ago = now.duration_since(at).unwrap_or(Duration::ZERO).as_secs();
        let words = match ago {
            0..60 => "just now".to_owned(),
            60..3600 => count(ago / 60, "minute"),
            3600..86_400 => count(ago / 3600, "hour"),
            86_400..604_800 => count(ago / 86_400, "day"),
            _ => format!("on {day}"),
        };
        Self { words, machine }
    }

    /// When something will be: in how many days, or on which.
    pub fn ahead(at: SystemTime, now: SystemTime) -> Self {
        let machine = humantime::format_rfc3339_seconds(at).to_string();
        let day = machine.split('T').next().unwrap_or_default();
        let left = at.duration_since(now).unwrap_or(Duration::ZERO).as_secs();
        let words = match left {
            0..86_400 => "within a day".to_owned(),
            _ => format!("on {day}"),
        };
        Self { words, machine }
    }
}

fn count(number: u64, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, source: &str) {
        assert_eq!(Target::of(&Url::parse(url).unwrap()).as_str(), source);
    }

    #[test]
    fn a_form_leads_to_an_origin_or_a_scheme() {
        check("https://app.example.com/cb?x=1", "https://app.example.com");
        check(
            "https://app.example.com:8443/",
            "https://app.example.com:8443",
        );
        check("http://127.0.0.1:5000/cb", "http://127.0.0.1:5000");
        check("http://[::1]:5000/cb", "http:");
        check("com.example.app:/cb", "com.example.app:");
        check("com.example.app://host/cb", "com.example.app:");
        check("https://bücher.example/", "https://xn--bcher-kva.example");
    }

    #[test]
    fn no_host_writes_a_directive_of_its_own() {
        check("https://a;script-src.example/", "https:");
        check("https://a,b'unsafe-inline'.example/", "https:");
        check("https://*.example/", "https:");
    }

    #[test]
    fn moments_are_told_as_people_do() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365);
        let words = |ago| When::past(now - Duration::from_secs(ago), now).words;
        assert_eq!(words(0), "just now");
        assert_eq!(words(60), "1 minute ago");
        assert_eq!(words(7199), "1 hour ago");
        assert_eq!(words(2 * 86_400), "2 days ago");
        assert_eq!(words(8 * 86_400), "on 1970-12-24");
        let ends = |left| When::ahead(now + Duration::from_secs(left), now).words;
        assert_eq!(ends(0), "within a day");
        assert_eq!(ends(86_399), "within a day");
        assert_eq!(ends(86_400), "on 1971-01-02");
        let ahead = When::past(now + Duration::from_secs(5), now);
        assert_eq!(ahead.words, "just now");
        assert_eq!(ahead.machine, "1971-01-01T00:00:05Z");
    }
}
