/**
 * Whether a text that should be a name looks like a credential that was sent in its place: by how tokens
 * begin. What does is kept as its digest. Pure.
 */
import { hash } from 'node:crypto';

/** GitHub's, GitLab's, JWTs (our sessions' among them), Google's, AWS's, Slack's, model providers', ours. */
const beginnings =
  /(?:gh[a-z]_|github_pat_|glpat-|eyJ|ya29\.|AKIA|ASIA|xox[a-z]-|sk-|writ_admin_)[\w.~+/=-]{12,}|-----BEGIN [A-Z ]*PRIVATE KEY/;

/** Long, with lower case, upper case and digits in it. */
const random = /(?=[\w+/=~-]*[a-z])(?=[\w+/=~-]*[A-Z])(?=[\w+/=~-]*[0-9])[\w+/=~-]{32,}/;

export const looksLikeToken = (text: string): boolean => beginnings.test(text);

/** A text as the record names it where nobody knows it. */
export const unknownName = (text: string): string => `unknown:sha256:${hash('sha256', text, 'hex').slice(0, 16)}`;

/** A reference as the record has it. */
export const recordedReference = (text: string): string => (looksLikeToken(text) ? unknownName(text) : text);

/** The name of a tool that no manifest lists, as the record has it. */
export const recordedStranger = (name: string): string =>
  looksLikeToken(name) || random.test(name) ? unknownName(name) : name;
