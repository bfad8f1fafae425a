//! Personal tokens: a section of the account page, and the one page that shows one.

use askama::Template;

use crate::page::Field;
use crate::page::Form;
use crate::page::Link;
use crate::page::Look;
use crate::page::View;
use crate::page::When;

/// The section.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Those that there are.
    pub list: Vec<PersonalToken>,
    /// The way to a new one.
    pub new: NewToken,
}

/// A personal token.
#[derive(Clone, Debug)]
pub struct PersonalToken {
    /// What its owner called it.
    pub name: String,
    /// What it may do, in the words of the scopes.
    pub scopes: Vec<String>,
    /// When it was made.
    pub since: When,
    /// When it was last used.
    pub last_used: Option<When>,
    /// When it ends by itself.
    pub until: When,
    /// Ends it.
    pub revoke: Form,
}

/// The way to a new token.
#[derive(Clone, Debug)]
pub enum NewToken {
    /// Here it is asked for.
    Form(Box<TokenForm>),
    /// The last sign-in is too long ago.
    SignInFirst(Link),
    /// There is none: whatever were asked for, it would open nothing.
    Nowhere,
}

/// It posts `name`, a field for each scope that is ticked, and `expires_in`.
#[derive(Clone, Debug)]
pub struct TokenForm {
    /// Where it is posted.
    pub form: Form,
    /// What its owner is to know it by.
    pub name: Field,
    /// What it may be given.
    pub scopes: Vec<ScopeChoice>,
    /// What is wrong with those that were ticked.
    pub scopes_error: Option<String>,
    /// How long it may live.
    pub lifetimes: Vec<Lifetime>,
    /// What is wrong with the one that was chosen.
    pub lifetime_error: Option<String>,
}

/// A checkbox.
#[derive(Clone, Debug)]
pub struct ScopeChoice {
    /// The name of its field.
    pub name: String,
    /// What the scope allows, in words.
    pub words: String,
    /// Whether it is ticked.
    pub is_ticked: bool,
}

/// A choice of `expires_in`.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// What it posts.
    pub seconds: u64,
    /// What it is called.
    pub words: &'static str,
    /// Whether it is chosen from the start.
    pub is_chosen: bool,
}

/// A new token, shown this once.
#[derive(Clone, Template)]
#[template(path = "token_made.html")]
pub struct TokenMade<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// What its owner called it.
    pub name: String,
    /// The token.
    pub token: String,
    /// What it may do, in the words of the scopes.
    pub scopes: Vec<String>,
    /// When it ends by itself.
    pub until: When,
    /// The account page.
    pub back: String,
}

impl Tokens {
    pub(super) fn is_wrong(&self) -> bool {
        match &self.new {
            NewToken::Form(new) => {
                let errors = [&new.name.error, &new.scopes_error, &new.lifetime_error];
                errors.into_iter().any(Option::is_some)
            }
            NewToken::SignInFirst(_) | NewToken::Nowhere => false,
        }
    }

    pub(super) fn forms(&self) -> impl Iterator<Item = &Form> {
        let new = match &self.new {
            NewToken::Form(new) => Some(&new.form),
            NewToken::SignInFirst(_) | NewToken::Nowhere => None,
        };
        self.list.iter().map(|token| &token.revoke).chain(new)
    }
}

impl View for TokenMade<'_> {
    fn forms(&self) -> Vec<&Form> {
        Vec::new()
    }
}
