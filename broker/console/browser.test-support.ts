/** Chromium for tests of pages: who looks, with which passkey, and what axe says of what they see. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe, { type Result } from 'axe-core';
import { type Browser, type BrowserContextOptions, type CDPSession, chromium, type Page } from 'playwright-core';

export const phone = { viewport: { width: 390, height: 844 } };
export const desk = { viewport: { width: 1280, height: 900 } };

export const openBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: process.env.TEST_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });

export interface Opening extends BrowserContextOptions {
  /** Of a login; none = nobody is signed in. */
  cookie?: string;
  /** Answers that are errors by design. */
  mayFail?: RegExp;
}

/** A page in a browser of its own. Fails when the browser refused something of it. */
export async function openPage(
  browser: Browser,
  url: string,
  { cookie, mayFail, ...options }: Opening,
  body: (page: Page) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext(options);
  const refused: string[] = [];
  try {
    if (cookie !== undefined) {
      const [name = '', value = ''] = cookie.split('=');
      await context.addCookies([{ name, value, url: new URL(url).origin }]);
    }
    const page = await context.newPage();
    page.on(
      'console',
      (message) => message.type() === 'error' && mayFail?.test(message.text()) !== true && refused.push(message.text()),
    );
    await page.goto(url);
    await body(page);
    assert.deepEqual(refused, []);
  } finally {
    await context.close();
  }
}

/** Chrome's own authenticator, with a fingerprint that is always right, or without one. */
export async function authenticator(
  page: Page,
  hasUserVerification = true,
  transport: 'internal' | 'usb' = 'internal',
): Promise<{ devtools: CDPSession; authenticatorId: string }> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport,
      hasResidentKey: true,
      hasUserVerification,
      isUserVerified: hasUserVerification,
      automaticPresenceSimulation: true,
    },
  });
  return { devtools, authenticatorId };
}

/** A private key with what belongs to it, for a page that is opened later. */
export type Credentials = Awaited<ReturnType<typeof addPasskey>>;

/** Adds a passkey on the page for it. */
export async function addPasskey(page: Page, name: string) {
  const { devtools, authenticatorId } = await authenticator(page);
  await page.locator('#name').fill(name);
  await page.locator('form[action="/passkeys"] button').click();
  await page.locator('td', { hasText: name }).waitFor();
  const { credentials } = await devtools.send('WebAuthn.getCredentials', { authenticatorId });
  return credentials;
}

/**
 * Plugs in a device with a person's passkey.
 * @param signCount more than it had: it is the same device
 */
export async function plugIn(page: Page, credentials: Credentials, signCount: number, verifies = true) {
  const { devtools, authenticatorId } = await authenticator(page, verifies);
  for (const credential of credentials)
    await devtools.send('WebAuthn.addCredential', { authenticatorId, credential: { ...credential, signCount } });
  return { devtools, authenticatorId };
}

/** Kept where WRIT_SCREENSHOTS names a folder. */
export async function picture(page: Page, name: string, fullPage = false): Promise<void> {
  const folder = process.env.WRIT_SCREENSHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage });
}

/** What axe calls serious or critical, in a line each. */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const violations = (await page.evaluate(
    "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)",
  )) as Result[];
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 160)}`));
}

/** Fails where something is wider than the screen. */
export async function fits(page: Page): Promise<void> {
  const { scrolled, screen } = await page.evaluate(() => ({
    scrolled: document.documentElement.scrollWidth,
    screen: document.documentElement.clientWidth,
  }));
  assert.ok(scrolled <= screen, `nothing is wider than the screen: ${scrolled} of ${screen}`);
}

/** Each size and each scheme once; where pictures are kept, in every combination. */
const looks = (
  [
    { device: 'desktop', colorScheme: 'light' },
    { device: 'phone', colorScheme: 'dark' },
    { device: 'phone', colorScheme: 'light' },
    { device: 'desktop', colorScheme: 'dark' },
  ] as const
).slice(0, process.env.WRIT_SCREENSHOTS === undefined ? 2 : 4);
const sizes = { desktop: desk.viewport, phone: phone.viewport };

/** Fails where axe finds something serious, or it does not fit; on a phone and on a desk, light and dark. */
export async function isAccessible(page: Page, name: string): Promise<void> {
  for (const { device, colorScheme } of looks) {
    await page.setViewportSize(sizes[device]);
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await barriers(page), [], `${name}, ${device}, ${colorScheme}`);
    await fits(page);
    await picture(page, `${name}-${device}-${colorScheme}`);
  }
}
