//! Coming in by another provider: whose account an identity opens, and what must be proven first.
//!
//! Nobody is let into an account that is here because of an address alone: the provider's word for it says
//! who owns the address, and only the account's own proof says whose the account is.

use std::borrow::Cow;
use std::time::SystemTime;

use http::HeaderMap;
use http::StatusCode;

use crate::account::Accounts;
use crate::account::SignedIn;
use crate::account::login::Shown;
use crate::account::login::SignedInBrowser;
use crate::account::login::check_password;
use crate::account::login::open_browser_session;
use crate::account::register::is_reserved;
use crate::account::unavailable;
use crate::config;
use crate::domain::Amr;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::Password;
use crate::domain::PasswordHash;
use crate::domain::Username;
use crate::intake::Origin;
use crate::problem::Problem;
use crate::providers::Person;
use crate::store::Change;
use crate::store::Credentials;
use crate::store::LinkProof;
use crate::store::Linked;
use crate::store::NewIdentity;
use crate::store::NewUser;
use crate::store::Opened;
use crate::store::Unlinked;
use crate::store::UserError;

/// What became of somebody who came back from a provider.
#[derive(Clone, Debug)]
pub enum CameIn {
    /// They are signed in.
    SignedIn(SignedInBrowser),
    /// There is an account of this address: whose it is must be shown by its password, see [`prove`].
    Unproven(EmailAddress),
}

/// Signs somebody in whom a provider knows, who has shown it `authenticated_at`.
///
/// # Errors
///
/// 403 where there is no account for them, or it is disabled; 503.
pub async fn come_in(
    accounts: &Accounts,
    provider: &config::Provider,
    person: &Person,
    authenticated_at: SystemTime,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<CameIn, Problem> {
    let used = accounts
        .store
        .use_identity(&identity(person), accounts.clock.now())
        .await;
    let used = used.map_err(|error| unavailable(&error))?;
    let found = match used {
        Some(opened) => felt(accounts, opened),
        None => match newcomer(accounts, provider, person).await? {
            Newcomer::Made(made) => made,
            Newcomer::Unproven(email) => return Ok(CameIn::Unproven(email)),
        },
    };
    if found.user.disabled {
        accounts.metrics.login("disabled");
        let detail = "Your account here is disabled. Ask whoever runs this site.";
        return Err(refused("account_disabled", detail));
    }
    tracing::info!(user.id = %found.user.id, provider.name = %provider.name, "a provider knows somebody");
    let scopes = accounts.rules.login_scopes.clone();
    let shown = Shown {
        amr: Amr::federated(),
        at: authenticated_at,
    };
    let opening = open_browser_session(accounts, &found, scopes, shown, origin, headers);
    opening.await.map(CameIn::SignedIn)
}

/// Lets an identity open the account of an address from now on, by the account's password, and signs in.
///
/// # Errors
///
/// 401 where that is wrong, in the same words and time as at a sign-in; 403 where the identity is somebody
/// else's, 503.
pub async fn prove(
    accounts: &Accounts,
    email: EmailAddress,
    password: Password,
    person: &Person,
    origin: &Origin,
    headers: &HeaderMap,
) -> Result<SignedInBrowser, Problem> {
    let verified = check_password(accounts, Some(&Handle::Email(email)), password).await?;
    let proof = LinkProof::Password(verified.password_version);
    let found = link(accounts, &verified, proof, person).await?;
    let scopes = accounts.rules.login_scopes.clone();
    let shown = Shown::by_password(accounts);
    open_browser_session(accounts, &found, scopes, shown, origin, headers).await
}

/// Lets an identity open the account of whoever is signed in.
///
/// # Errors
///
/// 403 where the identity is somebody else's, or the session has ended; 503.
pub async fn connect(
    accounts: &Accounts,
    signed_in: &SignedIn,
    person: &Person,
) -> Result<(), Problem> {
    let found = accounts
        .store
        .credentials(&Handle::Id(signed_in.user))
        .await;
    let found = found.map_err(|error| unavailable(&error))?;
    let found = found.ok_or_else(overtaken)?;
    let proof = LinkProof::Session(signed_in.session);
    link(accounts, &found, proof, person).await.map(drop)
}

/// Takes an identity from the account of whoever is signed in; every other session ends. `usable` are the
/// issuers that people can sign in with.
///
/// # Errors
///
/// 403 where nobody could sign in any more, or the session has ended, 404, 503.
pub async fn disconnect(
    accounts: &Accounts,
    signed_in: &SignedIn,
    issuer: &str,
    usable: &[&str],
) -> Result<(), Problem> {
    let (user, session, now) = (signed_in.user, signed_in.session, accounts.clock.now());
    let unlinking = accounts
        .store
        .unlink_identity(user, session, issuer, usable, now);
    match unlinking.await {
        Ok(Unlinked::Done(ended, version)) => {
            tracing::info!(user.id = %user, sessions.ended = ended.len(), "a provider was disconnected");
            accounts.bury(ended, now);
            let changed = Change::UserChanged { user, version };
            accounts.revocations.apply(changed, now);
            Ok(())
        }
        Ok(Unlinked::NotThere) => {
            let detail = "This provider is not connected with your account.";
            Err(Problem::new(StatusCode::NOT_FOUND, "not_connected", detail))
        }
        Ok(Unlinked::LastWay) => {
            let detail = "You could not sign in any more: your account has no password and no other \
                          provider. Connect another one first.";
            Err(refused("last_way", detail))
        }
        Ok(Unlinked::SignedOut) => Err(overtaken()),
        Err(error) => Err(unavailable(&error)),
    }
}

enum Newcomer {
    Made(Credentials),
    Unproven(EmailAddress),
}

/// Somebody whose identity opens nothing here yet.
async fn newcomer(
    accounts: &Accounts,
    provider: &config::Provider,
    person: &Person,
) -> Result<Newcomer, Problem> {
    if let Some(email) = &person.email {
        let handle = Handle::Email(email.clone());
        let found = accounts.store.credentials(&handle).await;
        let found = found.map_err(|error| unavailable(&error))?;
        if let Some(found) = found {
            if found.password.is_nothing() {
                let label = &provider.label;
                let detail = format!(
                    "There is an account for your address, which has no password. Sign in to it the way \
                     you did before, and connect {label} on your account page.",
                );
                return Err(refused("link_refused", detail));
            }
            return Ok(Newcomer::Unproven(email.clone()));
        }
    }
    if !provider.create_accounts {
        accounts.metrics.login("no_account");
        return Err(no_account(&provider.label));
    }
    make(accounts, provider, person).await.map(Newcomer::Made)
}

/// An account without a password, under the name that the provider has if it is free here.
async fn make(
    accounts: &Accounts,
    provider: &config::Provider,
    person: &Person,
) -> Result<Credentials, Problem> {
    let is_fit = |username: &Username| !is_reserved(accounts, &username.folded());
    let username = person.username.clone().filter(is_fit);
    let made = match create(accounts, person, username).await {
        Err(UserError::UsernameTaken) => create(accounts, person, None).await,
        other => other,
    };
    match made {
        Ok(made) => {
            tracing::info!(user.id = %made.user.id, provider.name = %provider.name, "an account was made for somebody whom a provider knows");
            Ok(made)
        }
        Err(UserError::Unavailable(error)) => Err(unavailable(&error)),
        Err(UserError::Nameless | UserError::UsernameTaken) => {
            accounts.metrics.login("no_account");
            let label = &provider.label;
            let detail = format!(
                "An account needs a username that is free here, or an e-mail address, and {label} told \
                 neither: it must say that it has verified your address.",
            );
            Err(refused("no_account", detail))
        }
        // Twice at once: the other one was first.
        Err(UserError::EmailTaken | UserError::NotFound) => Err(overtaken()),
    }
}

async fn create(
    accounts: &Accounts,
    person: &Person,
    username: Option<Username>,
) -> Result<Credentials, UserError> {
    let new = NewUser {
        username,
        email: person.email.clone(),
        name: person.name.clone(),
        roles: Vec::new(),
        password: PasswordHash::nothing(),
    };
    let (identity, now) = (identity(person), accounts.clock.now());
    let creating = accounts
        .store
        .create_user_of_identity(new, true, &identity, now);
    creating.await
}

async fn link(
    accounts: &Accounts,
    found: &Credentials,
    proof: LinkProof,
    person: &Person,
) -> Result<Credentials, Problem> {
    let (user, now) = (found.user.id, accounts.clock.now());
    let (identity, email) = (identity(person), person.email.as_ref());
    let linking = accounts
        .store
        .link_identity(user, proof, &identity, email, now);
    match linking.await {
        Ok(Linked::Done(opened)) => {
            tracing::info!(user.id = %user, "a provider was connected");
            Ok(felt(accounts, opened))
        }
        Ok(Linked::Taken) => {
            let detail = "Whoever you are there is connected with another account here. Disconnect it \
                          there first, or sign in to that account.";
            Err(refused("link_refused", detail))
        }
        Ok(Linked::HasAnother) => {
            let detail = "Your account is connected with somebody else of this provider. Disconnect that \
                          on your account page first.";
            Err(refused("link_refused", detail))
        }
        Ok(Linked::Overtaken) => Err(overtaken()),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Committed, then felt here, then answered: tokens and sessions that tell of the old roles are judged anew.
fn felt(accounts: &Accounts, opened: Opened) -> Credentials {
    let Opened {
        account,
        is_changed,
    } = opened;
    if is_changed {
        let (user, version) = (account.user.id, account.user.version);
        let changed = Change::UserChanged { user, version };
        accounts.revocations.apply(changed, accounts.clock.now());
    }
    account
}

fn identity(person: &Person) -> NewIdentity {
    NewIdentity {
        identity: person.identity.clone(),
        shown: person.shown.clone(),
        roles: person.roles.clone(),
    }
}

fn no_account(label: &str) -> Problem {
    let detail = format!(
        "{label} knows you, but there is no account here for you. Ask whoever runs this site for one. If \
         you have one, sign in to it and connect {label} on your account page.",
    );
    refused("no_account", detail)
}

fn overtaken() -> Problem {
    let detail = "Your account has changed meanwhile; nothing was done. Sign in once more.";
    refused("link_refused", detail)
}

fn refused(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail)
}
