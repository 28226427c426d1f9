/** A mail server on loopback, with one mailbox that keeps a Message-ID once, as mail stores do. */
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

export interface KeptMail {
  headers: ReadonlyMap<string, string>;
  text: string;
  from: string;
  to: string[];
}

export type MailFault = 'hang' | 'unavailable' | 'refused' | 'answer_lost';

export interface MailServer {
  port: number;
  mails(): KeptMail[];
  /** Connections so far. */
  requests(): number;
  fail(fault: MailFault | null): void;
  close(): Promise<void>;
}

/** @param options `starttls`: offers it, with a certificate that nobody vouches for */
export async function startMailServer(
  options: { starttls?: boolean; login?: { user: string; pass: string } } = {},
): Promise<MailServer> {
  const mailbox = new Map<string, KeptMail>();
  let fault: MailFault | null = null;
  let requests = 0;
  const failure = (code: number) => Object.assign(new Error('not now'), { responseCode: code });

  const server = new SMTPServer({
    logger: false,
    disabledCommands: options.starttls === true ? [] : ['STARTTLS'],
    authOptional: options.login === undefined,
    allowInsecureAuth: true,
    onConnect: (_session, done) => {
      requests += 1;
      if (fault !== 'hang') done();
    },
    onAuth: ({ username, password }, _session, done) => {
      const { user, pass } = options.login ?? {};
      if (username === user && password === pass) done(null, { user: username });
      else done(failure(535));
    },
    onRcptTo: (_address, _session, done) => {
      if (fault === 'refused') done(failure(550));
      else if (fault === 'unavailable') done(failure(451));
      else done();
    },
    onData: (stream, { envelope }, done) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const mail = readMail(Buffer.concat(chunks).toString('latin1'));
        const id = mail.headers.get('message-id') ?? '';
        const from = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
        if (!mailbox.has(id)) mailbox.set(id, { ...mail, from, to: envelope.rcptTo.map(({ address }) => address) });
        if (fault === 'answer_lost') for (const { _socket } of connections()) _socket.destroy();
        else done();
      });
    },
  });
  // A client that cuts its connection is no failure of the server.
  server.on('error', () => {});
  const connections = () => [
    ...(server as unknown as { connections: Set<{ _socket: { destroy(): void } }> }).connections,
  ];
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    mails: () => [...mailbox.values()],
    requests: () => requests,
    fail: (kind) => {
      fault = kind;
    },
    close: async () => {
      for (const { _socket } of connections()) _socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A mail of one part, as RFC 5322 and 2045 to 2047 write it. */
function readMail(source: string): Pick<KeptMail, 'headers' | 'text'> {
  const end = source.indexOf('\r\n\r\n');
  const lines = source
    .slice(0, end)
    .replace(/\r\n[ \t]+/g, ' ')
    .split('\r\n');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const name = line.slice(0, line.indexOf(':')).toLowerCase();
    if (headers.has(name)) throw new Error(`the header ${name} twice`);
    headers.set(name, words(line.slice(line.indexOf(':') + 1).trim()));
  }
  const body = source.slice(end + 4);
  const encoding = (headers.get('content-transfer-encoding') ?? '7bit').toLowerCase();
  const bytes =
    encoding === 'base64'
      ? Buffer.from(body, 'base64')
      : Buffer.from(encoding === 'quoted-printable' ? printable(body.replace(/=\r\n/g, '')) : body, 'latin1');
  return { headers, text: bytes.toString('utf8').replaceAll('\r\n', '\n') };
}

const printable = (text: string) =>
  text.replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** RFC 2047. */
const words = (text: string) =>
  text
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_, how: string, coded: string) =>
      (how.toLowerCase() === 'b'
        ? Buffer.from(coded, 'base64')
        : Buffer.from(printable(coded.replaceAll('_', ' ')), 'latin1')
      ).toString('utf8'),
    );
