"""requests-oauthlib as a public client: discovery by hand, as it has none, a refusal, a code with PKCE,
userinfo, a guarded route, refresh, and the end of it all. See conversation.py."""

import requests
from oauthlib.oauth2 import AccessDeniedError, InvalidGrantError, WebApplicationClient
from requests_oauthlib import OAuth2Session

from conversation import led, refused, say, told

told = told()
places = requests.get(f"{told['issuer']}/.well-known/oauth-authorization-server", timeout=10).json()
client = WebApplicationClient(told["client_id"])
session = OAuth2Session(
    client=client, scope=told["scope"].split(), redirect_uri=told["redirect_uri"], pkce="S256"
)


def begin(decision):
    url, _ = session.authorization_url(places["authorization_endpoint"])
    return led(url, decision)


def fetch(answer):
    return session.fetch_token(places["token_endpoint"], authorization_response=answer, include_client_id=True)


def refresh(token):
    return session.refresh_token(places["token_endpoint"], token, client_id=told["client_id"])


answer = begin("deny")
refused(AccessDeniedError, lambda: fetch(answer))

answer = begin("allow")
token = dict(fetch(answer))
person = session.get(places["userinfo_endpoint"]).json()
seen = session.get(told["resource"])
seen.raise_for_status()

new = dict(refresh(token["refresh_token"]))
assert new["access_token"] != token["access_token"] and new["refresh_token"] != token["refresh_token"]
session.get(told["resource"]).raise_for_status()

url, headers, body = client.prepare_token_revocation_request(
    places["revocation_endpoint"], new["refresh_token"], "refresh_token", client_id=told["client_id"]
)
requests.post(url, headers=headers, data=body, timeout=10).raise_for_status()
refused(InvalidGrantError, lambda: refresh(new["refresh_token"]))
assert session.get(places["userinfo_endpoint"]).status_code == 401
assert session.get(told["resource"]).status_code == 401

# A code counts once, and whoever brings it again ends what it gave.
answer = begin("allow")
fetch(answer)
session.get(told["resource"]).raise_for_status()
token = dict(session.token)
refused(InvalidGrantError, lambda: fetch(answer))
session.token = token
assert session.get(told["resource"]).status_code == 401

say("done", userinfo=person, resource=seen.json())
