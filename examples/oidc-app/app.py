"""A dashboard without a password of its own: people sign in by OpenID Connect, as they do with Grafana.

All that makes it so is between the two lines. The gateway's `roles` become the app's.

    REQUESTS_CA_BUNDLE=certs/ca.pem venv/bin/python app.py [PORT]
"""

import secrets
import sys
from pathlib import Path

from authlib.integrations.flask_client import OAuth, OAuthError
from flask import Flask, redirect, render_template_string, session, url_for

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)  # a restart signs everybody out of the app
app.config.update(SESSION_COOKIE_NAME="dashboards", SESSION_COOKIE_SAMESITE="Lax")

# ---------------------------------------------------------------------------------------------------------
gateway = OAuth(app).register(
    "gateway",
    server_metadata_url="https://localhost:8443/.well-known/openid-configuration",
    client_id="dashboards",
    client_secret=Path("secrets/dashboards").read_text().strip(),
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.get("/login")
def login():
    return gateway.authorize_redirect(url_for("callback", _external=True))


@app.get("/login/callback")
def callback():
    token = gateway.authorize_access_token()  # the code for tokens; the ID token is checked
    person = token["userinfo"]
    session.clear()
    session["name"] = person.get("name") or person["preferred_username"]
    session["role"] = role_of(person.get("roles", []))
    session["id_token"] = token["id_token"]
    return redirect(url_for("home"))


@app.post("/logout")
def logout():
    hint = session.get("id_token")
    session.clear()
    return gateway.logout_redirect(url_for("goodbye", _external=True), id_token_hint=hint)


@app.get("/goodbye")
def goodbye():
    gateway.validate_logout_response()
    return page("Goodbye!", "You are signed out, here and at the gateway.")


def role_of(roles):
    if "admin" in roles:
        return "Admin"
    return "Editor" if "editor" in roles else "Viewer"


@app.errorhandler(OAuthError)
def not_signed_in(error):
    session.clear()
    return page("You are not signed in", f"The gateway said: {error.description or error.error}"), 403
# ---------------------------------------------------------------------------------------------------------


@app.get("/")
def home():
    if "name" not in session:
        return page("Dashboards", "Sign in to see them.")
    return page(f"Welcome, {session['name']}!", f"You are here as {session['role']}.")


@app.get("/settings")
def settings():
    if session.get("role") != "Admin":
        return page("Settings", "Only an Admin may change them."), 403
    return page("Settings", "Everything is yours to change.")


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem }
  a { margin-right: 1rem }
</style>
<main>
<h1>{{ title }}</h1>
<p>{{ text }}</p>
{% if session.name %}<form method="post" action="/logout"><a href="/settings">Settings</a><button>Sign out</button></form>
{% else %}<p><a href="/login">Sign in with Portcullis</a></p>{% endif %}
</main>
</html>
"""


def page(title, text):
    return render_template_string(PAGE, title=title, text=text)


if __name__ == "__main__":
    app.run(host="localhost", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
