//! `POST register`: makes an account.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;

use crate::account::Accounts;
use crate::account::busy;
use crate::account::unavailable;
use crate::config::Registration;
use crate::domain::DisplayName;
use crate::domain::EmailAddress;
use crate::domain::Malformed;
use crate::domain::Password;
use crate::domain::User;
use crate::domain::Username;
use crate::intake::Json;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::password::weakness;
use crate::problem::Field;
use crate::problem::Problem;
use crate::store::NewUser;
use crate::store::UserError;

/// Names that look like the house's own.
const RESERVED: [&str; 22] = [
    "abuse",
    "admin",
    "administrator",
    "anonymous",
    "gateway",
    "guest",
    "hostmaster",
    "info",
    "me",
    "moderator",
    "noreply",
    "nobody",
    "operator",
    "portcullis",
    "postmaster",
    "root",
    "security",
    "support",
    "sysadmin",
    "system",
    "user",
    "webmaster",
];

/// One of `email` and `username`, and a password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registering {
    /// The address.
    pub email: Option<String>,
    /// The username.
    pub username: Option<String>,
    /// What the person is called.
    pub name: Option<String>,
    /// The password.
    pub password: Password,
}

/// The endpoint.
///
/// # Errors
///
/// 403 where registration is off, 409 where a name is taken, 422 with every bad field, 503.
pub async fn register(
    State(accounts): State<Arc<Accounts>>,
    Extension(origin): Extension<Origin>,
    Json(registering): Json<Registering>,
) -> Result<Response, Refusal> {
    let user = create(&accounts, registering).await;
    let user = user.map_err(|problem| Refusal::new(&origin, problem))?;
    let body = serde_json::json!({
        "id": user.id.to_string(),
        "email": user.email.as_ref().map(EmailAddress::as_str),
        "username": user.username.as_ref().map(Username::as_str),
        "message": "The account is ready: log in.",
    });
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, axum::Json(body)).into_response())
}

/// Makes the account.
///
/// # Errors
///
/// As the endpoint's.
pub async fn create(accounts: &Accounts, registering: Registering) -> Result<User, Problem> {
    refuse_closed(accounts)?;
    let checked = check(accounts, registering)?;
    let password = accounts.hasher.hash(checked.password).await;
    let new = NewUser {
        username: checked.username,
        email: checked.email,
        name: checked.name,
        roles: Vec::new(),
        password: password.map_err(|_| busy())?,
    };
    let created = accounts.store.create_user(new, accounts.clock.now()).await;
    let user = created.map_err(problem)?;
    tracing::info!(user.id = %user.id, "an account was registered");
    Ok(user)
}

/// Nobody but the administrator makes accounts, where registration is off.
///
/// # Errors
///
/// 403.
pub fn refuse_closed(accounts: &Accounts) -> Result<(), Problem> {
    match accounts.rules.registration {
        Registration::Open => Ok(()),
        Registration::Off => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "registration_off",
            "Accounts are made by the administrator here.",
        )),
    }
}

struct Checked {
    username: Option<Username>,
    email: Option<EmailAddress>,
    name: Option<DisplayName>,
    password: Password,
}

/// Finds everything that is wrong at once.
fn check(accounts: &Accounts, registering: Registering) -> Result<Checked, Problem> {
    let mut wrong = Vec::new();
    let username = parse(
        "username",
        registering.username,
        Username::parse,
        &mut wrong,
    );
    let email = parse("email", registering.email, EmailAddress::parse, &mut wrong);
    let name = parse("name", registering.name, DisplayName::parse, &mut wrong);
    if username.is_none() && email.is_none() && wrong.is_empty() {
        wrong.push(field(
            "username",
            "An account needs a username or an email.",
        ));
    }
    if let Some(username) = &username
        && is_reserved(accounts, &username.folded())
    {
        wrong.push(field(
            "username",
            "This username is reserved: choose another.",
        ));
    }
    let password = registering.password;
    let context: Vec<&str> = [
        username.as_ref().map(Username::as_str),
        email.as_ref().map(EmailAddress::as_str),
        name.as_ref().map(DisplayName::as_str),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(why) = weakness(&password, &accounts.rules, &context) {
        wrong.push(field("password", why));
    }
    if !wrong.is_empty() {
        return Err(bad_fields(wrong));
    }
    Ok(Checked {
        username,
        email,
        name,
        password,
    })
}

fn parse<T>(
    name: &'static str,
    text: Option<String>,
    parse: impl Fn(&str) -> Result<T, Malformed>,
    wrong: &mut Vec<Field>,
) -> Option<T> {
    match parse(&text?) {
        Ok(value) => Some(value),
        Err(Malformed(why)) => {
            wrong.push(field(name, why));
            None
        }
    }
}

fn is_reserved(accounts: &Accounts, folded: &str) -> bool {
    RESERVED.contains(&folded)
        || accounts
            .rules
            .reserved_usernames
            .iter()
            .any(|reserved| reserved == folded)
}

/// 422 that names each bad field.
pub(super) fn bad_fields(fields: Vec<Field>) -> Problem {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let detail = format!("These fields cannot be accepted: {}.", names.join(", "));
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_fields", detail);
    problem.fields = fields;
    problem
}

pub(super) fn field(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Field {
    Field {
        name,
        detail: detail.into(),
    }
}

fn problem(error: UserError) -> Problem {
    let taken = |name, detail: &'static str| {
        let mut problem = Problem::new(StatusCode::CONFLICT, "taken", detail);
        problem.fields = vec![field(name, detail)];
        problem
    };
    match error {
        UserError::UsernameTaken => taken("username", "The username is taken: choose another."),
        UserError::EmailTaken => taken("email", "There is an account with this email: log in."),
        UserError::NotFound | UserError::Nameless => bad_fields(vec![field(
            "username",
            "An account needs a username or an email.",
        )]),
        UserError::Unavailable(error) => unavailable(&error),
    }
}
