"""The tutorials' app with all of its authentication code deleted.

The gateway in front says who is calling, in one header. Whoever could reach this port directly
could write that header too: it listens on loopback only.

    /usr/bin/python3 app.py [PORT]
"""

import sys

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/api")
def api():
    return jsonify(message="Welcome to the API")


@app.get("/protected")
def protected():
    return jsonify(message=f"Welcome, {request.headers['X-Auth-User']}!")


@app.get("/rate_limited")
def rate_limited():
    return jsonify(message="This one is limited")


@app.errorhandler(404)
def not_found(_error):
    return jsonify(error="Not found"), 404


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
