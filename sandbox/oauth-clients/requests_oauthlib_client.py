"""requests-oauthlib against a broker: see README.md. Settings as JSON on standard input, what it saw on standard output."""
import json
import sys

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests_oauthlib import OAuth2Session

settings = json.load(sys.stdin)
issuer = settings["issuer"]
endpoint = issuer + "/oauth/token"
assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def fetch(assertion, client="night-job", include_client_id=True, **more):
    made = OAuth2Session(client=BackendApplicationClient(client_id=client))
    assertions = {} if assertion is None else {"client_assertion": assertion, "client_assertion_type": assertion_type}
    form = {"authorization_details": settings["details"], **assertions, **more}
    token = made.fetch_token(endpoint, client_id=client, include_client_id=include_client_id, **form)
    return made, token


def fails(*args, **more):
    try:
        fetch(*args, **more)
        return None
    except OAuth2Error as error:
        return {"error": error.error, "description": error.description}


assertions = iter(settings["assertions"])
used = next(assertions)
agent, token = fetch(used)
seen = {
    "token": token["token_type"],
    "session": agent.get(issuer + "/v1/session").json()["session"]["status"],
    "heartbeat": agent.post(issuer + "/v1/session/heartbeat").status_code,
    "errors": {
        "replayed": fails(used),
        "expired": fails(settings["expired"]),
        "details": fails(next(assertions), authorization_details="[]"),
        "scope": fails(next(assertions), scope="admin"),
        # What this library sends by itself: Basic, with an empty secret.
        "basic": fails(None, include_client_id=None),
        "secret": fails(None, client_secret="x"),
    },
}
json.dump(seen, sys.stdout)
