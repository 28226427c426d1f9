/**
 * One notice as one mail to all places of its route. Its Message-ID is the notice's, the same whenever it is
 * sent again: what keeps mail knows it by that. An outcome answers the mails that it follows.
 */
import { connect, type Socket } from 'node:net';
import { createTransport, type Transporter } from 'nodemailer';
import { DeliveryError, type Message } from '../contract.ts';
import { placesToTell, type Routes } from '../routes.ts';
import { digestMail, incidentMail, type Mail, mailOf } from './mail.ts';

export interface MailSettings {
  SMTP_HOST: string;
  SMTP_PORT: number;
  SMTP_USER?: string | undefined;
  SMTP_PASSWORD?: string | undefined;
  WRIT_SMTP_TLS: 'starttls' | 'tls' | 'none';
  WRIT_EMAIL_FROM: string;
  WRIT_EMAIL_ROUTES: Routes;
}

/** @param standard address of an owner without a route @throws DeliveryError */
export async function mailNotice(
  settings: MailSettings,
  notice: Message,
  signal: AbortSignal,
  standard: (owner: string) => string,
): Promise<void> {
  await withTransport(settings, signal, (transport) => {
    const to = placesToTell(settings.WRIT_EMAIL_ROUTES, standard, notice);
    const domain = settings.WRIT_EMAIL_FROM.slice(settings.WRIT_EMAIL_FROM.lastIndexOf('@') + 1);
    const name = (id: string) => `<${id}@${domain}>`;
    const earlier =
      notice.kind === 'incident' || notice.kind === 'digest' ? [] : notice.earlier.map(({ id }) => name(id));
    return transport.sendMail({
      from: settings.WRIT_EMAIL_FROM,
      to,
      messageId: name(notice.id),
      ...(earlier.length === 0 ? {} : { inReplyTo: earlier[0] as string, references: earlier }),
      // No machine answers it (RFC 3834).
      headers: { 'Auto-Submitted': 'auto-generated' },
      ...written(notice),
    });
  });
}

/** Connects, greets and logs in, and sends nothing. @throws DeliveryError */
export const greetServer = (settings: MailSettings, signal: AbortSignal): Promise<void> =>
  withTransport(settings, signal, (transport) => transport.verify());

async function withTransport(
  settings: MailSettings,
  signal: AbortSignal,
  work: (transport: Transporter) => Promise<unknown>,
): Promise<void> {
  signal.throwIfAborted();
  const { SMTP_HOST: host, SMTP_PORT: port, SMTP_USER: user, SMTP_PASSWORD: pass, WRIT_SMTP_TLS: tls } = settings;
  // A socket of our own, which an abort cuts: the library knows no signal.
  const socket = connect({ host, port });
  const cut = () => socket.destroy(new Error('cut'));
  signal.addEventListener('abort', cut, { once: true });
  try {
    await connected(socket);
    const transport = createTransport({
      connection: socket,
      host,
      port,
      secure: tls === 'tls',
      requireTLS: tls === 'starttls',
      ignoreTLS: tls === 'none',
      ...(user === undefined || pass === undefined ? {} : { auth: { user, pass } }),
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    // Whether or not the library notices that its socket is gone.
    await Promise.race([work(transport), aborted(signal)]);
  } catch (error) {
    signal.throwIfAborted();
    throw deliveryError(error);
  } finally {
    signal.removeEventListener('abort', cut);
    socket.destroy();
  }
}

function written(message: Message): Mail {
  if (message.kind === 'incident') return incidentMail(message);
  return message.kind === 'digest' ? digestMail(message) : mailOf(message);
}

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

const connected = (socket: Socket) =>
  new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });

/** Codes of the library for what stays so until somebody changes something. */
const standing = new Set(['EAUTH', 'ENOAUTH', 'EENVELOPE', 'ETLS', 'ECONFIG']);

function deliveryError(error: unknown): DeliveryError {
  const { code, responseCode } = error as { code?: unknown; responseCode?: unknown };
  // 5yz is a refusal, 4yz passes (RFC 5321, 4.2.1).
  if (typeof responseCode === 'number')
    return new DeliveryError(
      responseCode >= 500 ? 'refused' : 'unavailable',
      `the mail server answered ${responseCode}`,
    );
  if (standing.has(String(code)))
    return new DeliveryError('refused', `the mail server cannot be used: ${String(code)}`);
  return new DeliveryError('unavailable', 'the mail server did not take it');
}
