/** What a session may ask for, as the broker tells it. */

/** A value that the agent chooses, and within what. */
export interface Choice {
  type: 'string' | 'integer' | 'boolean';
  enum?: string[];
  /** RE2; the whole value must match. */
  pattern?: string;
  min?: number;
  max?: number;
  /** Taken when nothing is chosen; without it something must be. */
  default?: string | number | boolean;
  description?: string;
}

export interface Capability {
  name: string;
  description: string;
  provider: string;
  /** 1: policy alone decides. 2: a person approves. 3: a person approves, with a passkey. */
  tier: 1 | 2 | 3;
  maxTtlSeconds: number;
  /** How often it may still be given, to this session and its children together. */
  grantsLeft: number;
  /** For child sessions, not for this one. */
  delegateOnly: boolean;
  /** `withheld`: a rule took it from this session. `locked`: an admin stopped it. */
  state: 'open' | 'spent' | 'withheld' | 'locked';
  /** What is fixed; it need not be repeated. */
  params: { [name: string]: unknown };
  choose: { [name: string]: Choice };
}

// biome-ignore lint/suspicious/noExplicitAny: the broker's JSON
export const readCapabilities = ({ capabilities }: any): Capability[] =>
  // biome-ignore lint/suspicious/noExplicitAny: the broker's JSON
  capabilities.map((one: any) => ({
    name: one.name,
    description: one.description,
    provider: one.provider,
    tier: one.tier,
    maxTtlSeconds: one.max_ttl_seconds,
    grantsLeft: one.grants_left,
    delegateOnly: one.delegate_only,
    state: one.state,
    params: one.params,
    choose: one.choose,
  }));
