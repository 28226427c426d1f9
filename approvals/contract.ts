/** What approvals need to know about a grant from the manifest it was asked under. `compose/` supplies it; approvals read no manifest. */

/** Names a grant and the manifest version that says who owns it. */
export interface GrantRef {
  id: string;
  agent: string;
  capability: string;
  manifestVersion: number;
  taskType: string;
}

/**
 * Who may review: `team:<group>` and `user:<e-mail>`, the owner of the capability and the owner of the agent, from the manifest version the grant was
 * asked under (a later version must not hand a waiting request to other people).
 */
export type ApproversOf = (grant: GrantRef) => Promise<string[]>;

/** What the approver reads about the grant's manifest entries. Written by the manifest's author, shown as text. */
export interface GrantAbout {
  /** `team:…` or `user:…` that answers for the agent. */
  owner: string;
  agentDescription?: string | undefined;
  capabilityDescription?: string | undefined;
  taskDescription?: string | undefined;
}

export type AboutGrant = (grant: GrantRef) => Promise<GrantAbout>;
