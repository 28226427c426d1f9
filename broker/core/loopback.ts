/** Addresses that never leave this machine: the only ones where plain http is acceptable. */

/** @param host as a URL has it or as one listens on it: `localhost`, `127.0.0.1`, `::1`, `[::1]` */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** @param url absolute; an address such as `127.1` has been written out by the URL parser */
export function isLoopback(url: string): boolean {
  return isLoopbackHost(new URL(url).hostname);
}

/** @param host as one listens on it, in whichever spelling: every address of this machine, of IPv4 or IPv6 */
export function isEveryAddress(host: string): boolean {
  const url = `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}`;
  return URL.canParse(url) && ['0.0.0.0', '[::]', '[::ffff:0:0]'].includes(new URL(url).hostname);
}
