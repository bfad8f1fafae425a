"""Authlib as a confidential client, by `client_secret_basic`: discovery, a refusal, a code with PKCE, the ID
token and its hash, userinfo, a guarded route, refresh, and the end of it all. See conversation.py."""

from urllib.parse import parse_qsl, urlsplit

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc8414 import get_well_known_url as oauth_url
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import KeySet

from conversation import led, refused, say, told


def document(url):
    answer = requests.get(url, timeout=10)
    answer.raise_for_status()
    return answer.json()


def identity(places, client_id, token, nonce):
    """Who signed in: the ID token, judged by all that Authlib has."""
    keys = KeySet.import_key_set(requests.get(places["jwks_uri"], timeout=10).json())
    algorithms = places["id_token_signing_alg_values_supported"]
    decoded = jwt.decode(token["id_token"], keys, algorithms=algorithms)
    options = {
        "iss": {"essential": True, "value": places["issuer"]},
        "aud": {"essential": True, "value": client_id},
        "at_hash": {"essential": True},
        "auth_time": {"essential": True},
    }
    params = {"nonce": nonce, "client_id": client_id, "access_token": token["access_token"], "max_age": 3600}
    claims = CodeIDToken(decoded.claims, decoded.header, options, params)
    claims.validate(leeway=0)
    return claims


told = told()
issuer, client_id = told["issuer"], told["client_id"]
places = document(get_well_known_url(issuer, external=True))
assert places == document(oauth_url(issuer, external=True))
assert places["issuer"] == issuer
AuthorizationServerMetadata(places).validate()
# OpenID Connect Discovery §3 wants RS256 among the algorithms, which the gateway does not sign with. Nothing
# else is wrong with it.
algorithms = "id_token_signing_alg_values_supported"
wrong = refused(ValueError, OpenIDProviderMetadata(places).validate)
assert wrong == f'"RS256" MUST be included in "{algorithms}"', wrong
OpenIDProviderMetadata({**places, algorithms: [*places[algorithms], "RS256"]}).validate()

session = OAuth2Session(
    client_id,
    told["client_secret"],
    scope=told["scope"],
    redirect_uri=told["redirect_uri"],
    code_challenge_method="S256",
    token_endpoint=places["token_endpoint"],
)


def begin(decision):
    """The answer to a request for a code, with what belongs to it."""
    verifier, nonce = generate_token(48), generate_token(24)
    url, state = session.create_authorization_url(
        places["authorization_endpoint"], code_verifier=verifier, nonce=nonce, max_age=3600
    )
    return led(url, decision), state, verifier, nonce


def fetch(answer, state, verifier):
    return session.fetch_token(authorization_response=answer, state=state, code_verifier=verifier)


# This class leaves refusals to its user; its Flask app, in examples/oidc-app, does not.
answer, state, _, _ = begin("deny")
denied = dict(parse_qsl(urlsplit(answer).query))
assert denied["error"] == "access_denied" and denied["state"] == state and denied["iss"] == issuer, denied

answer, state, verifier, nonce = begin("allow")
token = fetch(answer, state, verifier)
assert token["token_type"] == "Bearer" and token["scope"] == told["scope"], token
claims = identity(places, client_id, token, nonce)
person = session.get(places["userinfo_endpoint"]).json()
assert person["sub"] == claims["sub"], (person, claims)
seen = session.get(told["resource"])
seen.raise_for_status()

old = dict(token)
new = dict(session.refresh_token(places["token_endpoint"]))
assert new["access_token"] != old["access_token"] and new["refresh_token"] != old["refresh_token"]
renewed = identity(places, client_id, new, None)
assert renewed["sub"] == claims["sub"] and renewed["auth_time"] == claims["auth_time"], renewed
session.get(told["resource"]).raise_for_status()

ask = session.introspect_token
introspected = ask(places["introspection_endpoint"], token=new["refresh_token"]).json()
assert introspected["active"], introspected
session.revoke_token(places["revocation_endpoint"], token=new["refresh_token"]).raise_for_status()
ended = refused(OAuthError, lambda: session.refresh_token(places["token_endpoint"], new["refresh_token"]))
assert "invalid_grant" in ended, ended
session.token = new
assert session.get(places["userinfo_endpoint"]).status_code == 401
assert session.get(told["resource"]).status_code == 401
assert ask(places["introspection_endpoint"], token=new["refresh_token"]).json() == {"active": False}

say("done", claims=claims, userinfo=person, resource=seen.json())
