/**
 * Reads and writes the denial policy of one role through IAM. The broker's lock ensures one writer at a time.
 */
import {
  DeleteRolePolicyCommand,
  GetRolePolicyCommand,
  type IAMClient,
  ListRolePoliciesCommand,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { ProviderError, type RevocationTarget } from '../contract.ts';
import { type Denial, denialFor, denialPolicyName } from './denial.ts';
import { toProviderError } from './errors.ts';

/** Characters that all inline policies of a role share (IAM user guide, "IAM and AWS STS quotas"). */
export const inlinePolicyLimit = 10_240;

/** The denial policy as IAM shows it; undefined when there is none. */
export async function readDenial(iam: IAMClient, role: string, signal: AbortSignal): Promise<string | undefined> {
  return readPolicy(iam, role, denialPolicyName, signal);
}

/** Characters of a role's other inline policies, which share the room. */
export async function charactersOfOthers(iam: IAMClient, role: string, signal: AbortSignal): Promise<number> {
  let characters = 0;
  for await (const { text } of eachOtherPolicy(iam, role, signal)) characters += charactersOf(text);
  return characters;
}

/** A role's inline policies but for the denials, as IAM shows them. @throws ProviderError */
export async function* eachOtherPolicy(
  iam: IAMClient,
  role: string,
  signal: AbortSignal,
): AsyncGenerator<{ name: string; text: string }> {
  for (let marker: string | undefined, more = true; more; ) {
    const page = await call('iam:ListRolePolicies', signal, () =>
      iam.send(
        new ListRolePoliciesCommand({ RoleName: nameOf(role), ...(marker === undefined ? {} : { Marker: marker }) }),
        { abortSignal: signal },
      ),
    );
    for (const name of listed(page.PolicyNames, 'iam:ListRolePolicies')) {
      const text = name === denialPolicyName ? undefined : await readPolicy(iam, role, name, signal);
      if (text !== undefined) yield { name, text };
    }
    marker = page.Marker;
    more = page.IsTruncated === true && marker !== undefined;
  }
}

/** A list that is not there is no empty one: some gateway's page has none. @throws ProviderError */
export function listed<T>(list: T[] | undefined, call: string): T[] {
  if (list !== undefined) return list;
  throw new ProviderError('upstream_mismatch', `${call}: the answer holds no list`, { retryable: true });
}

/** As IAM counts them: without white space. Ours has none. */
const charactersOf = (text: string) => text.replaceAll(/\s/g, '').length;

/** Makes IAM hold exactly the denials of `outstanding`; `present` is what it holds now. */
export async function writeDenial(
  iam: IAMClient,
  role: string,
  outstanding: RevocationTarget[],
  present: string | undefined,
  now: Date,
  signal: AbortSignal,
): Promise<Denial> {
  const whole = denialFor(outstanding, now, inlinePolicyLimit);
  if (whole !== null) {
    try {
      await put(iam, role, whole, present, signal);
      return whole;
    } catch (error) {
      if (!isFull(error)) throw error;
    }
  }
  // Other policies share the space: measure them and make ours fit.
  const capacity = inlinePolicyLimit - (await charactersOfOthers(iam, role, signal));
  const shortened = denialFor(outstanding, now, capacity);
  if (shortened === null)
    throw toProviderError(
      { name: 'LimitExceededException', $metadata: { httpStatusCode: 409 } },
      'iam:PutRolePolicy',
      signal,
    );
  await put(iam, role, shortened, present, signal);
  return shortened;
}

async function put(iam: IAMClient, role: string, denial: Denial, present: string | undefined, signal: AbortSignal) {
  if (denial.text === (present ?? null)) return;
  const name = { RoleName: nameOf(role), PolicyName: denialPolicyName };
  if (denial.text === null) {
    await unlessMissing(
      call('iam:DeleteRolePolicy', signal, () => iam.send(new DeleteRolePolicyCommand(name), { abortSignal: signal })),
    );
    return;
  }
  const document = { ...name, PolicyDocument: denial.text };
  await call('iam:PutRolePolicy', signal, () => iam.send(new PutRolePolicyCommand(document), { abortSignal: signal }));
}

async function readPolicy(
  iam: IAMClient,
  role: string,
  name: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const command = new GetRolePolicyCommand({ RoleName: nameOf(role), PolicyName: name });
  const answer = await unlessMissing(
    call('iam:GetRolePolicy', signal, () => iam.send(command, { abortSignal: signal })),
  );
  if (answer === undefined) return undefined;
  if (typeof answer.PolicyDocument !== 'string')
    throw new ProviderError('upstream_mismatch', 'iam:GetRolePolicy: the answer holds no document', {
      retryable: true,
    });
  return decoded(answer.PolicyDocument);
}

/** IAM gives documents percent-encoded (RFC 3986); Ceph's radosgw as they are, with a `%` by itself. */
function decoded(document: string): string {
  if (document.trimStart().startsWith('{')) return document;
  try {
    return decodeURIComponent(document);
  } catch {
    return document;
  }
}

/**
 * Answers after which the same call may pass at once: an admin's change in the same moment, and clocks apart
 * (the SDK has then set its own by the answer).
 */
const againAtOnce = /^(?:ConcurrentModification|SignatureDoesNotMatch|RequestTimeTooSkewed|RequestExpired)/;

/** One IAM call, tried again where that helps at once: the client itself makes one attempt. */
export async function call<T>(name: string, signal: AbortSignal, send: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      const failure = toProviderError(error, name, signal);
      if (!againAtOnce.test(failure.providerCode ?? '') || attempt === 4) throw failure;
    }
  }
}

/**
 * AWS wraps the code in an XML document (`NoSuchEntity`); Ceph's radosgw answers a bare 404, of which the SDK
 * makes `NotFound` or nothing but the status.
 */
const missing = /^(?:NoSuchEntity\w*|NoSuchRolePolicy|NotFound|404)$/;

async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (missing.test((error as ProviderError).providerCode ?? '')) return undefined;
    throw error;
  }
}

const isFull = (error: unknown) => /^LimitExceeded/.test((error as ProviderError).providerCode ?? '');
export const nameOf = (roleArn: string) => roleArn.split('/').at(-1) ?? '';
