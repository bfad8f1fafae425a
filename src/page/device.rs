//! The pages of the device grant (RFC 8628 §3.3): the code, what it would allow, what became of it.
//!
//! Whoever sends a code to somebody else wants that person's account: the confirmation warns of it (§5.4).

use askama::Template;

use crate::page::App;
use crate::page::Field;
use crate::page::Form;
use crate::page::Look;
use crate::page::View;

/// Which device? It posts `user_code`.
#[derive(Clone, Debug, Template)]
#[template(path = "device_code.html")]
pub struct DeviceCode<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted.
    pub form: Form,
    /// The code that was typed, or came with the address.
    pub code: Field,
}

/// May this device? It posts `decision`, which is `allow` or `deny`.
#[derive(Clone, Debug, Template)]
#[template(path = "device_confirm.html")]
pub struct DeviceConfirm<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted; the code is among what it keeps.
    pub form: Form,
    /// The code, as the device shows it.
    pub code: String,
    /// Who asks.
    pub app: App,
    /// Who would allow it.
    pub signed_in_as: String,
    /// Where somebody else signs in instead.
    pub not_you: String,
    /// What is asked for, in the words of the scopes.
    pub scopes: Vec<String>,
    /// The host where the app is to use it, where that is outside: an API that is not behind the gateway.
    pub used_at: Option<String>,
}

/// What became of it. The rest happens on the device.
#[derive(Clone, Debug, Template)]
#[template(path = "device_done.html")]
pub struct DeviceDone<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// The client's name.
    pub app: String,
    /// Whether it may.
    pub is_allowed: bool,
}

impl View for DeviceCode<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for DeviceConfirm<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for DeviceDone<'_> {
    fn forms(&self) -> Vec<&Form> {
        Vec::new()
    }
}
