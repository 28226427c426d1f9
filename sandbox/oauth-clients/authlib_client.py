"""Authlib against a broker: see README.md. Reads its settings as JSON from standard input, prints what it saw."""
import json
import sys

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata

settings = json.load(sys.stdin)
issuer = settings["issuer"]
plain = OAuth2Session()
metadata = plain.request("GET", issuer + "/.well-known/oauth-authorization-server", withhold_token=True).json()
AuthorizationServerMetadata(metadata).validate()
openid = plain.request("GET", issuer + "/.well-known/openid-configuration", withhold_token=True).json()
OpenIDProviderMetadata(openid).validate()
endpoint = metadata["token_endpoint"]


def session(client, key, alg):
    method = "private_key_jwt"
    # Its default for these two would be Basic, with the key as a secret.
    made = OAuth2Session(client, key, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method)
    made.register_client_auth_method(PrivateKeyJWT(endpoint, alg=alg))
    return made


def fails(call):
    try:
        call()
        return None
    except OAuthError as error:
        return {"error": error.error, "description": error.description}


seen = {"tokens": {}, "errors": {}}
for client in settings["clients"]:
    agent = session(client["id"], client["key"], client["alg"])
    token = agent.fetch_token(
        endpoint, grant_type="client_credentials", authorization_details=settings["details"], scope=settings["scope"]
    )
    seen["tokens"][client["alg"]] = {"type": token["token_type"], "scope": token["scope"]}

api = agent.get(issuer + "/v1/session")
seen["session"] = api.json()["session"]["status"]
beat = agent.post(issuer + "/v1/session/heartbeat")
seen["heartbeat"] = beat.status_code
server = settings["server"]
resource_server = session(server["id"], server["key"], server["alg"])
introspected = resource_server.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
seen["introspected"] = introspected.json()
seen["revoked"] = agent.revoke_token(metadata["revocation_endpoint"], token=token["access_token"]).status_code
gone = resource_server.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
seen["introspected_after"] = gone.json()

exchanged = OAuth2Session("any", token_endpoint_auth_method="none").fetch_token(
    endpoint,
    grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token=settings["subject_token"],
    subject_token_type="urn:ietf:params:oauth:token-type:jwt",
    authorization_details=settings["details"],
)
seen["exchanged"] = exchanged["token_type"]

good = settings["clients"][0]
details = settings["details"]
seen["errors"]["scope"] = fails(
    lambda: session(good["id"], good["key"], good["alg"]).fetch_token(
        endpoint, grant_type="client_credentials", authorization_details=details, scope="admin"
    )
)
seen["errors"]["details"] = fails(
    lambda: session(good["id"], good["key"], good["alg"]).fetch_token(
        endpoint, grant_type="client_credentials", authorization_details="[]"
    )
)
seen["errors"]["grant_type"] = fails(
    lambda: session(good["id"], good["key"], good["alg"]).fetch_token(endpoint, grant_type="password", username="x")
)
seen["errors"]["key"] = fails(
    lambda: session(good["id"], settings["strangers_key"], "RS256").fetch_token(
        endpoint, grant_type="client_credentials", authorization_details=details
    )
)
for method in ("client_secret_basic", "client_secret_post"):
    seen["errors"][method] = fails(
        lambda: OAuth2Session(good["id"], "secret", token_endpoint_auth_method=method).fetch_token(
            endpoint, grant_type="client_credentials", authorization_details=details
        )
    )
json.dump(seen, sys.stdout)
