/** What a part of `npm run check` is: a name, and a look at the tree that says what is wrong with it. */

export interface Finding {
  /** One line each, `path:line: what is wrong`; none = the part passes. */
  faults: string[];
  /** Lines worth reading although nothing is wrong (counts, exceptions with their reason). */
  notes: string[];
}

export interface Part {
  name: string;
  /** @param root absolute path of the repository */
  run(root: string): Promise<Finding>;
}
