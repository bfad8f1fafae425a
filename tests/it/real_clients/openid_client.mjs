// openid-client as a confidential client, by `client_secret_post`: discovery, a refusal, a code with PKCE, the
// ID token and its signature, userinfo, a guarded route, refresh, the end of it all, and signing out. As a
// public client on a device: requests that are allowed and denied. Talks with its test in lines of JSON, as
// conversation.py does, and must never switch off a check of the library.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";

// Node.js 18 does not have it there, and the library looks for it as it is loaded.
globalThis.crypto ??= webcrypto;
const oidc = await import("openid-client");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const listen = async () => JSON.parse((await lines.next()).value);
const say = (what, more) => process.stdout.write(`${JSON.stringify({ say: what, ...more })}\n`);
const ask = async (what, more) => {
  say(what, more);
  return listen();
};

const told = await listen();
const discover = async (id, metadata, authentication) => {
  const config = await oidc.discovery(new URL(told.issuer), id, metadata, authentication);
  // The signature too, though TLS would do where the token endpoint itself gives the token.
  oidc.enableNonRepudiationChecks(config);
  return config;
};
const failsWith = (error) => (caught) => {
  assert.equal(caught.error, error, caught);
  return true;
};

// An app on a server: how it asks for codes, and what it opens with its tokens.
async function app() {
  const config = await discover(told.client_id, undefined, oidc.ClientSecretPost(told.client_secret));
  const begin = async (decision) => {
    const checks = {
      pkceCodeVerifier: oidc.randomPKCECodeVerifier(),
      expectedState: oidc.randomState(),
      expectedNonce: oidc.randomNonce(),
      maxAge: 3600,
      idTokenExpected: true,
    };
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: told.redirect_uri,
      scope: told.scope,
      state: checks.expectedState,
      nonce: checks.expectedNonce,
      max_age: String(checks.maxAge),
      code_challenge: await oidc.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
      code_challenge_method: "S256",
    });
    const { led } = await ask("open", { url, decision });
    return [new URL(led), checks];
  };
  const opens = async (token) => {
    const url = new URL(told.resource);
    const answer = await oidc.fetchProtectedResource(config, token, url, "GET");
    return answer.json();
  };
  return { config, begin, opens };
}

async function browser() {
  const { config, begin, opens } = await app();
  const denied = await begin("deny");
  await assert.rejects(oidc.authorizationCodeGrant(config, ...denied), failsWith("access_denied"));

  const allowed = await begin("allow");
  const tokens = await oidc.authorizationCodeGrant(config, ...allowed);
  const claims = tokens.claims();
  const userinfo = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub);
  const resource = await opens(tokens.access_token);

  const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  await opens(renewed.access_token);
  const introspected = await oidc.tokenIntrospection(config, renewed.access_token);
  assert.equal(introspected.active, true);
  await oidc.tokenRevocation(config, renewed.refresh_token);
  await assert.rejects(oidc.refreshTokenGrant(config, renewed.refresh_token), failsWith("invalid_grant"));
  await assert.rejects(opens(renewed.access_token), { status: 401 });
  return { claims, userinfo, resource };
}

// Out of all of it: the gateway's own session, and what hangs on it.
async function leave() {
  const { config, begin, opens } = await app();
  const tokens = await oidc.authorizationCodeGrant(config, ...(await begin("allow")));
  await opens(tokens.access_token);
  const state = oidc.randomState();
  const url = oidc.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: told.post_logout_redirect_uri,
    state,
  });
  const { led } = await ask("leave", { url });
  assert.equal(led, `${told.post_logout_redirect_uri}?state=${state}`);
  await assert.rejects(opens(tokens.access_token), { status: 401 });
  return { claims: tokens.claims() };
}

async function device() {
  const config = await discover(told.client_id, undefined, oidc.None());
  const begin = async (decision) => {
    const started = await oidc.initiateDeviceAuthorization(config, { scope: told.scope });
    await ask("device", { ...started, decision });
    return oidc.pollDeviceAuthorizationGrant(config, started);
  };
  // Both at the same time: the library asks every five seconds.
  const denied = assert.rejects(begin("deny"), failsWith("access_denied"));
  const [tokens] = await Promise.all([begin("allow"), denied]);
  const userinfo = await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
  const renewed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  return { claims: tokens.claims(), userinfo };
}

say("done", await { browser, leave, device }[told.as]());
process.exit(0);
