//! `[[listeners]]`, `[[certificates]]` and `[admin]`: where the gateway can be reached.

use std::net::SocketAddr;

use crate::config::Admin;
use crate::config::CertificateFiles;
use crate::config::CertificateRequest;
use crate::config::Listener;
use crate::config::ListenerKind;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::domain::Malformed;

pub(super) fn listeners(root: &Table<'_>) -> Vec<Listener> {
    let values = root.get("listeners").map(Value::items);
    if values.as_ref().is_none_or(Vec::is_empty) {
        root.problem("there is no listener; write [[listeners]] and address = \"127.0.0.1:8443\"");
    }
    let listener = |value: Value<'_>| value.table(listener).flatten();
    values
        .unwrap_or_default()
        .into_iter()
        .filter_map(listener)
        .collect()
}

fn listener(table: &Table<'_>) -> Option<Listener> {
    let redirect = table.boolean("redirect", false);
    let tls = table.boolean("tls", !redirect);
    let kind = match (tls, redirect) {
        (true, false) => ListenerKind::Tls,
        (false, false) => ListenerKind::Plain,
        (false, true) => ListenerKind::Redirect,
        (true, true) => {
            table.problem("a listener that redirects to https speaks plain HTTP; leave `tls` out");
            ListenerKind::Redirect
        }
    };
    let address = table
        .required("address", "\"127.0.0.1:8443\"")?
        .parse(address)?;
    Some(Listener {
        address,
        kind,
        proxy_protocol: table.boolean("proxy_protocol", false),
        client_certificate: client_certificate(table, kind),
        position: table.position(),
    })
}

fn client_certificate(table: &Table<'_>, kind: ListenerKind) -> Option<CertificateRequest> {
    let asked = table.choice(
        "client_certificate",
        &[
            ("off", Some(None)),
            ("request", Some(Some(false))),
            ("require", Some(Some(true))),
        ],
        None,
    );
    let authorities = table.get("client_ca");
    let Some(is_required) = asked else {
        if let Some(value) = authorities {
            value.warning("nobody is asked for a certificate: `client_certificate` is \"off\"");
        }
        return None;
    };
    if kind != ListenerKind::Tls {
        table.problem("certificates are a matter of TLS, which this listener does not speak; leave `client_certificate` out");
    }
    let authorities = table.required("client_ca", "\"certs/clients.pem\"")?;
    Some(CertificateRequest {
        is_required,
        authorities: authorities.path()?,
        position: authorities.position(),
    })
}

/// What is given; without any, the development certificate where some listener needs one.
pub(super) fn certificates(root: &Table<'_>, listeners: &[Listener]) -> Vec<CertificateFiles> {
    let speaks_tls = listeners
        .iter()
        .any(|listener| listener.kind == ListenerKind::Tls);
    let Some(value) = root.get("certificates") else {
        let development = CertificateFiles {
            cert: root.report().path("certs/localhost.pem"),
            key: root.report().path("certs/localhost.key"),
            position: root.position(),
        };
        return if speaks_tls {
            vec![development]
        } else {
            Vec::new()
        };
    };
    let values = value.items();
    if speaks_tls && values.is_empty() {
        value.problem("a listener speaks TLS and needs one; write [[certificates]], cert and key");
    }
    let certificate = |value: Value<'_>| value.table(certificate).flatten();
    values.into_iter().filter_map(certificate).collect()
}

fn certificate(table: &Table<'_>) -> Option<CertificateFiles> {
    let cert = table.required("cert", "\"certs/localhost.pem\"");
    let key = table.required("key", "\"certs/localhost.key\"");
    Some(CertificateFiles {
        cert: cert?.path()?,
        key: key?.path()?,
        position: table.position(),
    })
}

pub(super) fn admin(table: &Table<'_>) -> Option<Admin> {
    let value = table.get("listen")?;
    let address = value.parse(|text| {
        let address = address(text)?;
        if address.ip().is_loopback() {
            Ok(address)
        } else {
            Err(Malformed(
                "it must be on loopback, such as \"127.0.0.1:9900\": whoever reaches \
             it is not asked who they are",
            ))
        }
    });
    Some(Admin {
        address: address?,
        position: value.position(),
    })
}

fn address(text: &str) -> Result<SocketAddr, Malformed> {
    text.parse().map_err(|_| {
        Malformed("it must be an address and a port, such as \"127.0.0.1:8443\" or \"[::]:443\"")
    })
}
