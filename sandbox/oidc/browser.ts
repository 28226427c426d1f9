/**
 * A person's browser without the screen: keeps cookies, follows redirects, fills in forms. Runs no script,
 * which is the point.
 */

export interface Page {
  url: string;
  status: number;
  html: string;
  /** The header, as it came. */
  retryAfter?: string | null;
}

export interface Browser {
  /** Opens an address and follows wherever it leads. */
  open(url: string): Promise<Page>;
  /**
   * Fills in the page's form and sends it; hidden fields go along as they are.
   * @param action part of the form's action or of a button's text, to choose among several; default: the
   *   first form
   */
  submit(page: Page, fields: { [name: string]: string }, action?: string): Promise<Page>;
  /** What a cookie holds, as its owner can read it in the browser's tools. */
  cookie(name: string): string | undefined;
}

interface Cookie {
  name: string;
  value: string;
  host: string;
  path: string;
}

const maxHops = 20;

/** A fresh browser, signed in nowhere. */
export function openBrowser(): Browser {
  let cookies: Cookie[] = [];

  const visit = async (start: string, form?: { body: URLSearchParams; origin: string }): Promise<Page> => {
    let url = new URL(start);
    let body = form?.body;
    for (let hop = 0; hop < maxHops; hop += 1) {
      const cookie = cookies
        .filter((kept) => kept.host === url.host && covers(kept.path, url.pathname))
        .map((kept) => `${kept.name}=${kept.value}`)
        .join('; ');
      const response = await fetch(url, {
        method: body === undefined ? 'GET' : 'POST',
        redirect: 'manual',
        headers: {
          accept: 'text/html',
          ...(cookie === '' ? {} : { cookie }),
          // What a broker's CSRF check looks at: the page the form was on, not the address it goes to.
          ...(form === undefined || body === undefined ? {} : { origin: form.origin }),
        },
        ...(body === undefined ? {} : { body }),
      });
      for (const header of response.headers.getSetCookie()) cookies = kept(cookies, header, url);
      const location = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || location === null) {
        const retryAfter = response.headers.get('retry-after');
        return { url: url.href, status: response.status, html: await response.text(), retryAfter };
      }
      await response.body?.cancel();
      url = new URL(location, url);
      // As browsers do: only 307 and 308 repeat the form.
      if (response.status !== 307 && response.status !== 308) body = undefined;
    }
    throw new Error(`more than ${maxHops} redirects from ${new URL(start).origin}`);
  };

  return {
    cookie: (name) => cookies.find((one) => one.name === name)?.value,
    open: (url) => visit(url),
    submit: async (page, fields, action) => {
      const form = formsOf(page).find((found) => action === undefined || found.markup.includes(action));
      if (form === undefined) throw new Error(`no such form on ${page.url} (status ${page.status})`);
      const body = new URLSearchParams({ ...form.hidden, ...fields });
      const answer = await visit(form.action, { body, origin: new URL(page.url).origin });
      // A program is faster than a person reads: it is warned, and confirms.
      const warning = formsOf(answer).find(({ hidden }) => hidden.confirmation !== undefined);
      if (warning === undefined) return answer;
      const confirmed = new URLSearchParams({ ...warning.hidden, read: 'yes' });
      return visit(warning.action, { body: confirmed, origin: new URL(answer.url).origin });
    },
  };
}

/**
 * Opens `url`, signs in where it is asked to, and returns the page it ends on.
 * @throws Error when there is no sign-in form, or e-mail and password are not taken
 */
export async function signIn(browser: Browser, url: string, who: { email: string; password: string }): Promise<Page> {
  const asked = await browser.open(url);
  const page = await browser.submit(asked, who, 'name="password"');
  if (page.html.includes('name="password"')) throw new Error(`${who.email} was not let in (status ${page.status})`);
  return page;
}

function formsOf(page: Page): { action: string; hidden: { [name: string]: string }; markup: string }[] {
  return [...page.html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([markup, attributes = '', content = '']) => {
    const hidden: { [name: string]: string } = {};
    for (const [, input = ''] of content.matchAll(/<input\b([^>]*)>/gi)) {
      const name = attribute(input, 'name');
      if (name !== null && attribute(input, 'type') === 'hidden') hidden[name] = attribute(input, 'value') ?? '';
    }
    return { action: new URL(attribute(attributes, 'action') ?? '', page.url).href, hidden, markup };
  });
}

function attribute(markup: string, name: string): string | null {
  const found = new RegExp(`(?:^|\\s)${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`, 'i').exec(markup);
  const value = found?.[1] ?? found?.[2] ?? found?.[3];
  return value === undefined ? null : decoded(value);
}

const entities: { [name: string]: string } = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function decoded(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    return entities[name ?? ''] ?? whole;
  });
}

/**
 * RFC 6265 as far as loopback needs it: by host, port and path; a cookie without a value or with Max-Age 0 or
 * an end in 1970 goes.
 */
function kept(cookies: Cookie[], header: string, url: URL): Cookie[] {
  const [pair = '', ...attributes] = header.split(';').map((part) => part.trim());
  const at = pair.indexOf('=');
  const name = pair.slice(0, at);
  const value = pair.slice(at + 1);
  const given = (key: string) =>
    attributes.find((part) => part.toLowerCase().startsWith(`${key}=`))?.slice(key.length + 1);
  const path = given('path') ?? '/';
  const others = cookies.filter((cookie) => cookie.name !== name || cookie.host !== url.host || cookie.path !== path);
  const over = value === '' || given('max-age') === '0' || /\b1970\b/.test(given('expires') ?? '');
  return over ? others : [...others, { name, value, host: url.host, path }];
}

function covers(cookiePath: string, path: string): boolean {
  return path === cookiePath || path.startsWith(cookiePath.endsWith('/') ? cookiePath : `${cookiePath}/`);
}
