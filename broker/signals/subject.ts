/**
 * Whom a signal is about (RFC 9493) → names that can be compared with those of people. Only well-formed names
 * leave this file: they go into rows, into the record and onto pages. Pure.
 */
import { canonicalEmail, type Identifier, isName } from '../core/identifier.ts';

/** Of what kind opaque identifiers of the transmitter are; null = nobody knows. */
export type OpaqueNames = { kind: string; issuer?: string } | null;

/** A subject has one name, or as many aliases; more than these are no person's. */
const maxNames = 20;

/**
 * The names of one person; none where it names nobody, or by what is comparable with nothing (a telephone
 * number, a device, a format of tomorrow).
 */
export function namesOf(subject: unknown, opaque: OpaqueNames): Identifier[] {
  const names = namesIn(subject, opaque, true);
  const forms = names.flatMap((name) => [name, { ...name, value: name.value.normalize('NFC') }]);
  return forms.filter(
    (name, index) =>
      forms.findIndex(
        ({ kind, value, issuer }) => kind === name.kind && value === name.value && issuer === name.issuer,
      ) === index,
  );
}

function namesIn(subject: unknown, opaque: OpaqueNames, outermost: boolean): Identifier[] {
  if (typeof subject !== 'object' || subject === null) return [];
  const { format, ...of } = subject as { [member: string]: unknown };
  const one = (name: Identifier | null) => (name === null || !isName(name.value) ? [] : [name]);
  const named = (value: unknown, make: (text: string) => Identifier | null) =>
    typeof value === 'string' ? one(make(value)) : [];
  switch (format) {
    case 'iss_sub':
      return typeof of.iss === 'string' && isName(of.iss)
        ? named(of.sub, (value) => ({ kind: 'subject', value, issuer: of.iss as string }))
        : [];
    case 'email':
      return named(of.email, (text) => {
        const value = canonicalEmail(text);
        return value === null ? null : { kind: 'email', value };
      });
    case 'account':
      // RFC 7565: a name at a host that need not be an address of e-mail.
      return named(of.uri, (uri) =>
        uri.startsWith('acct:') ? { kind: 'account', value: uri.slice('acct:'.length) } : null,
      );
    case 'opaque':
      return opaque === null ? [] : named(of.id, (value) => ({ ...opaque, value }));
    case 'aliases':
      return outermost && Array.isArray(of.identifiers)
        ? of.identifiers.slice(0, maxNames).flatMap((alias) => namesIn(alias, opaque, false))
        : [];
    case 'complex':
      // Of a session, a device or a tenant alone nobody knows whose it is.
      return outermost ? namesIn(of.user, opaque, false) : [];
    default:
      return [];
  }
}
