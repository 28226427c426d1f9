/**
 * Whether a request can have come from another site's page: what a cookie, which travels by itself, does not
 * say.
 */

/**
 * True for a request from a page of ours, or from no browser at all (which has no ambient cookie to abuse).
 * `Sec-Fetch-Site` counts first, because our own referrer policy turns `Origin` into `null`.
 * @param publicUrl the broker's own
 */
export function isSameOrigin(publicUrl: string, req: { get(name: string): string | undefined }): boolean {
  const site = req.get('sec-fetch-site');
  if (site !== undefined) return site === 'same-origin';
  const origin = req.get('origin');
  return origin === undefined || origin === new URL(publicUrl).origin;
}
