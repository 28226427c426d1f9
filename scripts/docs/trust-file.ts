/** `docs/reference/trust-file.md`: whom the broker believes. */
import { fieldTable, type JsonSchema } from './json-schema.ts';
import { fence, generatedFrom, page } from './markdown.ts';

/** Parsed by the page's test, so that what people copy is accepted. */
export const exampleTrustFile = `issuers:
  - name: ci
    issuer: https://token.actions.githubusercontent.com
    kind: github_actions
  - name: cluster
    issuer: https://oidc.example.com/cluster-1
    kind: kubernetes
    algorithms: [RS256]
    max_token_age: 10m
bindings:
  - issuer: ci
    agent: invoice-bot
    claims:
      repository_id: "4711"          # ids, not names: a repository can be renamed
      environment: production
    started_by_claim: actor          # whoever this names can never approve the run
    started_by_kind: github_login    # with WRIT_OIDC_ALIAS_CLAIMS=github_login: what it is compared with
  - issuer: cluster
    agent: report-bot
    claims:
      sub: system:serviceaccount:agents:report-bot
    responsible: team:reporting      # nothing says who started it: counts as its starter
clients:
  - agent: night-bot                 # an agent without a platform signs for itself
    client_id: night-bot
    jwks_uri: https://agents.example.com/night-bot/jwks.json
    responsible: user:operator@example.com
`;

export function trustFilePage(schema: JsonSchema): string {
  return page(
    generatedFrom('broker/identity/trust-schema.ts'),
    '# Trust file',
    'Named by `WRIT_TRUST_FILE`, read once at start: change the file, then restart. A file with any fault is refused whole, with line and column of each. Without a trust file nobody can open a session. As a JSON Schema: [trust-file.schema.json](trust-file.schema.json).',
    'A token must match exactly one agent: two are refused. A binding must hold a claim that says whose the workload is at that kind of issuer (at GitHub `repository`, not `ref`), by a value or by a pattern that provably fits one owner alone: it begins with the owner in plain text and the delimiter after it (`octo/.*`; `octo.*` would fit `octopus`). Where the address does not tell the kind (GitLab on a host of your own), say it with `kind`: of a `generic` issuer any claim counts that is no known word for how something runs. Patterns are RE2 and match the whole value. Issuers must be https, except on loopback in the sandbox.',
    'Who counts as the starter of a run, and which kinds of names can be compared: [sign-in](../sign-in.md).',
    '## Fields',
    fieldTable(schema),
    '## Example',
    fence('yaml', exampleTrustFile),
  );
}
