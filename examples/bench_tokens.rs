//! Many access tokens of a gateway that is under test, each of another user and session.
//!
//! Signs as the gateway would, with the signing key that lies sealed in its store: a hundred thousand
//! logins would hash passwords for an hour. It takes the claims from a token that the gateway has issued.
//!
//! ```text
//! bench_tokens GATEWAY.toml TOKEN COUNT > tokens
//! ```

use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::config::Config;
use portcullis::startup::store_key;
use portcullis::store::KeyPurpose;
use portcullis::store::KeyState;
use portcullis::store::Open;
use portcullis::store::Store;
use serde_json::Value;
use uuid::Uuid;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [config, token, count] = arguments.as_slice() else {
        anyhow::bail!("bench_tokens GATEWAY.toml TOKEN COUNT");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let pair = runtime.block_on(signing_key(Path::new(config)))?;
    let (header, rest) = token.split_once('.').context("TOKEN is no token")?;
    let (claims, _) = rest.split_once('.').context("TOKEN is no token")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let random = SystemRandom::new();
    let mut output = BufWriter::new(io::stdout().lock());
    for _ in 0..count.parse().context("COUNT")? {
        let claims = claims.as_object_mut().context("claims are an object")?;
        for name in ["sub", "sid", "jti"] {
            claims.insert(name.to_owned(), Uuid::now_v7().to_string().into());
        }
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
        let signed = format!("{header}.{claims}");
        let signature = pair.sign(&random, signed.as_bytes())?;
        writeln!(output, "{signed}.{}", URL_SAFE_NO_PAD.encode(signature))?;
    }
    output.flush()?;
    Ok(())
}

/// The key that signs access tokens now.
async fn signing_key(config: &Path) -> anyhow::Result<EcdsaKeyPair> {
    let config = Config::load(config)?;
    let vault = store_key::load_existing(&config.store)?;
    let store = Store::open(&config.store.sqlite, Open::Existing).await?;
    let keys = store.keys().await?;
    let key = keys
        .iter()
        .find(|key| key.purpose == KeyPurpose::Access && key.state == KeyState::Current)
        .context("the store has no current signing key")?;
    let pkcs8 = vault.open(&format!("signing key {}", key.kid), &key.sealed)?;
    Ok(EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &pkcs8,
    )?)
}
