/**
 * The agents that the SDK's clients connect by. It would make its own, which know nothing of the process's
 * proxies, and destroys with a client whatever it was given: so each client gets its own, like the process's.
 */
import http from 'node:http';
import https from 'node:https';

export function agents(): { httpAgent: http.Agent; httpsAgent: https.Agent } {
  const usual = { keepAlive: true, maxSockets: 50 };
  const proxied = (agent: http.Agent | https.Agent) => {
    const { proxyEnv } = (agent as unknown as { options: http.AgentOptions }).options;
    return proxyEnv === undefined ? {} : { proxyEnv };
  };
  return {
    httpAgent: new http.Agent({ ...usual, ...proxied(http.globalAgent) }),
    httpsAgent: new https.Agent({ ...usual, ...proxied(https.globalAgent) }),
  };
}
