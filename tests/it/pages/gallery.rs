//! Every view in the states that make it look different: empty, wrong, crowded, with names that are too long.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use std::time::SystemTime;

use http::Response;
use http::StatusCode;
use tempfile::TempDir;

use portcullis::config::Brand;
use portcullis::config::Colour;
use portcullis::config::Logo;
use portcullis::config::LogoKind;
use portcullis::config::Position;
use portcullis::page::Account;
use portcullis::page::App;
use portcullis::page::AskedBy;
use portcullis::page::ConnectedApp;
use portcullis::page::Consent;
use portcullis::page::DeviceCode;
use portcullis::page::DeviceConfirm;
use portcullis::page::DeviceDone;
use portcullis::page::Failure;
use portcullis::page::Field;
use portcullis::page::Form;
use portcullis::page::Lifetime;
use portcullis::page::Link;
use portcullis::page::LinkAccount;
use portcullis::page::LinkedProvider;
use portcullis::page::Look;
use portcullis::page::NewToken;
use portcullis::page::Notice;
use portcullis::page::PersonalToken;
use portcullis::page::Profile;
use portcullis::page::Register;
use portcullis::page::ScopeChoice;
use portcullis::page::SessionRow;
use portcullis::page::SignIn;
use portcullis::page::SignOut;
use portcullis::page::SignedOut;
use portcullis::page::Target;
use portcullis::page::ToProvider;
use portcullis::page::TokenForm;
use portcullis::page::TokenMade;
use portcullis::page::Tokens;
use portcullis::page::View;
use portcullis::page::When;
use portcullis::page::answer;

type Pages = BTreeMap<String, Response<String>>;

const LONG: &str =
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft";
pub(crate) const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 40" width="180" height="40"><rect width="40" height="40" rx="20" fill="#e0a100"/><path d="M56 28V12h68" stroke="#8a8f98" stroke-width="6" fill="none"/></svg>"##;

/// The look that comes with the gateway.
pub(crate) fn house() -> Look {
    house_at("/auth/assets")
}

/// The same, with its files elsewhere.
pub(crate) fn house_at(folder: &str) -> Look {
    let brand = Brand {
        name: "Portcullis".to_owned(),
        logo: None,
        colour: Colour::DEFAULT,
    };
    Look::new(folder, &brand).unwrap()
}

/// A house with a logo, and a colour on which white could not be read.
pub(crate) fn other_house() -> Look {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("logo.svg");
    fs::write(&path, LOGO).unwrap();
    let brand = Brand {
        name: "Sunflower Works".to_owned(),
        logo: Some(Logo {
            path,
            kind: LogoKind::Svg,
            position: Position::default(),
        }),
        colour: Colour {
            red: 0xf2,
            green: 0xb7,
            blue: 0x05,
        },
    };
    Look::new("/auth/assets", &brand).unwrap()
}

/// What differs most between houses.
pub(crate) fn of_another_house(look: &Look) -> Pages {
    let mut pages = of(look, "house-");
    pages.retain(|name, _| {
        ["sign-in", "consent", "account"]
            .iter()
            .any(|kept| name.ends_with(kept))
    });
    pages
}

/// Every view in every state.
pub(crate) fn of(look: &Look, prefix: &str) -> Pages {
    let mut pages = Pages::new();
    let mut add = |name: &str, page| pages.insert(format!("{prefix}{name}"), page);
    add("sign-in", ok(&sign_in(look)));
    add(
        "sign-in-plain",
        ok(&SignIn {
            providers: Vec::new(),
            register: None,
            continue_to: None,
            ..sign_in(look)
        }),
    );
    add(
        "sign-in-wrong",
        ok(&SignIn {
            notice: Some(Notice::error(
                "That is not right. Check the name and the password.",
            )),
            identifier: "alice@example.com".to_owned(),
            continue_to: Some(LONG.to_owned()),
            ..sign_in(look)
        }),
    );
    add("register", ok(&register(look)));
    add("register-wrong", ok(&register_wrong(look)));
    add(
        "link-account",
        ok(&LinkAccount {
            look,
            form: form("login/link"),
            notice: Some(Notice::error("That is not the password of this account.")),
            provider: "Example Workspace".to_owned(),
            email: "alice.with.a.rather.long.address@subsidiary.example.com".to_owned(),
            cancel: "/auth/login".to_owned(),
        }),
    );
    add(
        "to-provider",
        ok(&ToProvider {
            look,
            provider: LONG.to_owned(),
            url: "https://login.example.com/authorize?a=b&c=d".to_owned(),
        }),
    );
    add("consent", ok(&consent(look)));
    add(
        "consent-long",
        ok(&Consent {
            app: App {
                name: LONG.to_owned(),
                host: Some(format!("{}.example.com", "a".repeat(60))),
            },
            signed_in_as: format!("{}@example.com", "a".repeat(60)),
            scopes: (0..9).map(|_| format!("Read {LONG}")).collect(),
            used_at: Some(format!("{}.example.com:8443", "a".repeat(60))),
            ..consent(look)
        }),
    );
    add(
        "consent-elsewhere",
        ok(&Consent {
            used_at: Some("api.example.com".to_owned()),
            ..consent(look)
        }),
    );
    add(
        "consent-nothing",
        ok(&Consent {
            scopes: Vec::new(),
            used_at: Some("urn:example:ledger".to_owned()),
            ..consent(look)
        }),
    );
    add(
        "device-code",
        ok(&DeviceCode {
            look,
            form: form("oauth/device"),
            code: Field::default(),
        }),
    );
    add(
        "device-code-wrong",
        ok(&DeviceCode {
            look,
            form: form("oauth/device"),
            code: wrong(
                "WDJB-MJHX",
                "There is no such code, or it is too old. Your device can show another.",
            ),
        }),
    );
    add("device-confirm", ok(&device_confirm(look)));
    add(
        "device-confirm-elsewhere",
        ok(&DeviceConfirm {
            used_at: Some("api.example.com".to_owned()),
            ..device_confirm(look)
        }),
    );
    for (name, is_allowed) in [("device-allowed", true), ("device-denied", false)] {
        add(
            name,
            ok(&DeviceDone {
                look,
                app: "Living Room TV".to_owned(),
                is_allowed,
            }),
        );
    }
    add("account", ok(&account(look)));
    add("account-new", ok(&account_new(look)));
    add("account-crowded", ok(&account_crowded(look)));
    add("account-wrong-token", ok(&account_wrong_token(look)));
    add("token-made", ok(&token_made(look, "Backup script")));
    add("token-made-long", ok(&token_made(look, LONG)));
    for (name, asked_by) in [
        ("sign-out", AskedBy::Person),
        ("sign-out-some-app", AskedBy::SomeApp),
        ("sign-out-app", AskedBy::App("Notes".to_owned())),
    ] {
        add(
            name,
            ok(&SignOut {
                look,
                form: form("oauth/logout"),
                asked_by,
                signed_in_as: "alice".to_owned(),
                cancel: "/auth/account".to_owned(),
            }),
        );
    }
    add(
        "signed-out",
        ok(&SignedOut {
            look,
            sign_in: "/auth/login".to_owned(),
            back: Some(Link {
                text: "Back to Notes".to_owned(),
                url: "https://notes.example.com/".to_owned(),
            }),
        }),
    );
    add(
        "failure",
        ok(&Failure {
            look,
            title: "There is nothing here".to_owned(),
            sentence: "No route of this gateway leads to what you asked for. Check the address."
                .to_owned(),
            code: "no_route".to_owned(),
            request_id: "01JD9Q7Y3W8K5V2N4M6P0R1S3T-with-a-tail-that-does-not-end".to_owned(),
            back: Some(Link {
                text: "Your account".to_owned(),
                url: "/auth/account".to_owned(),
            }),
        }),
    );
    pages
}

/// The consent page of a client whose answers go somewhere else.
pub(crate) fn consent_leading_to(look: &Look, leads_to: Vec<Target>) -> Response<String> {
    ok(&Consent {
        form: Form {
            leads_to,
            ..form("oauth/authorize")
        },
        ..consent(look)
    })
}

fn ok(view: &impl View) -> Response<String> {
    answer(StatusCode::OK, view)
}

fn form(action: &str) -> Form {
    Form {
        action: format!("/auth/{action}"),
        csrf: "m9T2cA".to_owned(),
        kept: vec![("return_to", "/notes?a=1&b=2".to_owned())],
        leads_to: Vec::new(),
    }
}

fn wrong(value: &str, error: &str) -> Field {
    Field {
        value: value.to_owned(),
        error: Some(error.to_owned()),
    }
}

fn words() -> Vec<String> {
    [
        "See your name and picture",
        "Read your notes",
        "Stay connected when you are away",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The same moment on every screenshot.
fn ago(seconds: u64) -> When {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    When::past(now - Duration::from_secs(seconds), now)
}

fn ahead() -> When {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    When::ahead(now + Duration::from_hours(30 * 24), now)
}

fn sign_in(look: &Look) -> SignIn<'_> {
    let provider = |name: &str| Link {
        text: format!("Continue with {name}"),
        url: format!("/auth/providers/{name}"),
    };
    SignIn {
        look,
        form: form("login"),
        identifier: String::new(),
        notice: None,
        continue_to: Some("Notes".to_owned()),
        providers: vec![provider("Keycloak"), provider("Example Workspace")],
        register: Some("/auth/register".to_owned()),
    }
}

fn register(look: &Look) -> Register<'_> {
    Register {
        look,
        form: form("register"),
        notice: None,
        email: Field::default(),
        username: Field::default(),
        name: Field::default(),
        password: Field::default(),
        password_length_min: 12,
        sign_in: "/auth/login".to_owned(),
    }
}

fn register_wrong(look: &Look) -> Register<'_> {
    Register {
        email: wrong(
            "alice@",
            "This is no e-mail address. One looks like name@example.com.",
        ),
        username: wrong("al ice", "Use letters, digits, dots and dashes only."),
        password: wrong(
            "",
            "This password is among the first that are guessed. Take another.",
        ),
        ..register(look)
    }
}

fn consent(look: &Look) -> Consent<'_> {
    Consent {
        look,
        form: form("oauth/authorize"),
        app: App {
            name: "Notes".to_owned(),
            host: Some("notes.example.com".to_owned()),
        },
        signed_in_as: "alice".to_owned(),
        not_you: "/auth/login".to_owned(),
        scopes: words(),
        used_at: None,
    }
}

fn device_confirm(look: &Look) -> DeviceConfirm<'_> {
    DeviceConfirm {
        look,
        form: form("oauth/device"),
        code: "WDJB-MJHT".to_owned(),
        app: App {
            name: "Living Room TV".to_owned(),
            host: None,
        },
        signed_in_as: "alice".to_owned(),
        not_you: "/auth/login".to_owned(),
        scopes: words(),
        used_at: None,
    }
}

fn session(device: &str, seconds: u64, is_this: bool) -> SessionRow {
    SessionRow {
        device: device.to_owned(),
        address: "2001:db8:85a3:8d3:1319:8a2e:370:7348".to_owned(),
        last_seen: ago(seconds),
        since: ago(seconds + 400_000),
        is_this,
        end: form("sessions/1"),
    }
}

fn connected(name: &str) -> ConnectedApp {
    ConnectedApp {
        app: App {
            name: name.to_owned(),
            host: Some("notes.example.com".to_owned()),
        },
        scopes: words(),
        since: ago(900_000),
        disconnect: form("apps/1"),
    }
}

fn account(look: &Look) -> Account<'_> {
    Account {
        look,
        notice: Some(Notice::done(
            "Your password is changed. Every other session has ended.",
        )),
        profile: Profile {
            name: Some("Alice Liddell".to_owned()),
            username: Some("alice".to_owned()),
            email: Some("alice@example.com".to_owned()),
            is_email_verified: false,
            roles: vec!["editor".to_owned(), "admin".to_owned()],
        },
        sessions: vec![
            session("Firefox on Linux", 5, true),
            session("Safari on iPhone", 7_300, false),
        ],
        end_others: Some(form("sessions")),
        password: Some(form("password")),
        current_password: Field::default(),
        new_password: Field::default(),
        password_length_min: 12,
        apps: vec![connected("Notes")],
        providers: vec![
            LinkedProvider {
                name: "Keycloak".to_owned(),
                account: Some("alice@corp.example".to_owned()),
                change: form("providers/1"),
            },
            LinkedProvider {
                name: "Example Workspace".to_owned(),
                account: None,
                change: form("providers/2"),
            },
        ],
        tokens: Some(Tokens {
            list: vec![PersonalToken {
                name: "Backup script".to_owned(),
                scopes: vec!["Read your notes".to_owned()],
                since: ago(3_000_000),
                last_used: None,
                until: ahead(),
                revoke: form("tokens/1"),
            }],
            new: NewToken::Form(Box::new(token_form())),
        }),
        sign_out: form("logout"),
    }
}

fn account_new(look: &Look) -> Account<'_> {
    Account {
        notice: None,
        profile: Profile {
            username: Some("bob".to_owned()),
            ..Profile::default()
        },
        sessions: vec![session("Chrome on Windows", 0, true)],
        end_others: None,
        apps: Vec::new(),
        providers: Vec::new(),
        tokens: Some(Tokens {
            list: Vec::new(),
            new: NewToken::SignInFirst(Link {
                text: "Sign in again to make one".to_owned(),
                url: "/auth/login?prompt=login".to_owned(),
            }),
        }),
        current_password: wrong("", "That is not your current password."),
        ..account(look)
    }
}

fn account_wrong_token(look: &Look) -> Account<'_> {
    let new = TokenForm {
        name: wrong("", "A name has 1 to 128 printable characters."),
        scopes_error: Some("Without a scope it would open nothing.".to_owned()),
        lifetime_error: Some("It lives for a year at most.".to_owned()),
        ..token_form()
    };
    Account {
        tokens: Some(Tokens {
            list: Vec::new(),
            new: NewToken::Form(Box::new(new)),
        }),
        ..account(look)
    }
}

fn token_form() -> TokenForm {
    let choice = |name: &str, words: &str| ScopeChoice {
        name: format!("scope:{name}"),
        words: words.to_owned(),
        is_ticked: name == "notes:read",
    };
    let lifetime = |seconds, words| Lifetime {
        seconds,
        words,
        is_chosen: seconds == 2_592_000,
    };
    TokenForm {
        form: form("tokens"),
        name: Field::default(),
        scopes: vec![
            choice("notes:read", "Read your notes"),
            choice("long", LONG),
        ],
        scopes_error: None,
        lifetimes: vec![lifetime(604_800, "7 days"), lifetime(2_592_000, "30 days")],
        lifetime_error: None,
    }
}

fn token_made<'a>(look: &'a Look, name: &str) -> TokenMade<'a> {
    TokenMade {
        look,
        name: name.to_owned(),
        token: "ptc_pat_AZ2rT0kVcY2dO3rP5aQ7xJc0mEwq1yVfH8uZsKtB4nL".to_owned(),
        scopes: vec!["Read your notes".to_owned()],
        until: ahead(),
        back: "/auth/account".to_owned(),
    }
}

fn account_crowded(look: &Look) -> Account<'_> {
    let crowd = (1..16).map(|index| session(LONG, index * 40_000, false));
    Account {
        profile: Profile {
            name: Some(LONG.to_owned()),
            username: Some("a".repeat(64)),
            email: Some(format!("{}@example.com", "a".repeat(64))),
            is_email_verified: false,
            roles: (0..20)
                .map(|index| format!("role-number-{index}"))
                .collect(),
        },
        sessions: [session("curl", 5, true)]
            .into_iter()
            .chain(crowd)
            .collect(),
        apps: (0..5).map(|_| connected(LONG)).collect(),
        ..account(look)
    }
}
