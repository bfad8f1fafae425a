"""How the scripts here talk with their test: one line of JSON each way, the test's first line being what they
are told. They must never switch off a check of the library that they stand for."""

import json
import sys


def told():
    return json.loads(sys.stdin.readline())


def say(what, **more):
    print(json.dumps({"say": what, **more}), flush=True)


def led(url, decision="allow"):
    """Sends the person to a URL: where the gateway sends them to after it."""
    say("open", url=url, decision=decision)
    return told()["led"]


def refused(error, act):
    """Insists on a refusal, in the library's own words for it."""
    try:
        act()
    except error as caught:
        return str(caught)
    raise AssertionError("it was not refused")
