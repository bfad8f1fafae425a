//! What browsers see: every page as a pure function of a view.
//!
//! A view is a plain struct that says all that its page shows; [`answer`] turns it into HTML under a
//! policy that admits no script, no inline style and nothing from elsewhere. Pages work without
//! JavaScript, because there is none. This room must never ask a store, and never write HTML by hand:
//! templates escape what they are given.

mod account;
mod answer;
mod consent;
mod device;
mod failure;
mod form;
mod look;
mod palette;
mod sign_in;
mod sign_out;
mod tokens;

pub use account::Account;
pub use account::ConnectedApp;
pub use account::LinkedProvider;
pub use account::Profile;
pub use account::SessionRow;
pub use answer::View;
pub use answer::answer;
pub use consent::Consent;
pub use device::DeviceCode;
pub use device::DeviceConfirm;
pub use device::DeviceDone;
pub use failure::Failure;
pub use form::App;
pub use form::Field;
pub use form::Form;
pub use form::Link;
pub use form::Notice;
pub use form::Target;
pub use form::Tone;
pub use form::When;
pub use look::Asset;
pub use look::Look;
pub use look::Unreadable;
pub use sign_in::LinkAccount;
pub use sign_in::Register;
pub use sign_in::SignIn;
pub use sign_in::ToProvider;
pub use sign_out::AskedBy;
pub use sign_out::SignOut;
pub use sign_out::SignedOut;
pub use tokens::Lifetime;
pub use tokens::NewToken;
pub use tokens::PersonalToken;
pub use tokens::ScopeChoice;
pub use tokens::TokenForm;
pub use tokens::TokenMade;
pub use tokens::Tokens;

#[cfg(test)]
mod tests;
