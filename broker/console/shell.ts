/**
 * The frame of every page: head, masthead, headers. Pages are Preact trees; this is the only place that turns
 * one into bytes.
 */
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import express, { type Response, type Router } from 'express';
import { type ComponentChildren, h, type JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { clamp, moment, visible } from './text.ts';

const stylesheet = readFileSync(join(import.meta.dirname, 'writ.css'));
const script = readFileSync(join(import.meta.dirname, 'live.js'));
// Named by its content hash, so that browsers can cache it without limit and still load a new version at
// once.
const named = (content: Buffer) => hash('sha256', content, 'hex').slice(0, 16);
const stylesheetPath = `/assets/writ.${named(stylesheet)}.css`;
const scriptPath = `/assets/live.${named(script)}.js`;
const passkeyScripts = [
  join(import.meta.dirname, 'passkeys.js'),
  // As its package has it; a page cannot load more than one file of ours.
  fileURLToPath(new URL('../dist/bundle/index.umd.min.js', import.meta.resolve('@simplewebauthn/browser'))),
].map((file) => {
  const content = readFileSync(file);
  return { content, path: `/assets/passkeys.${named(content)}.js` };
});

/** Who is signed in, for the masthead. `csrf` goes into the sign-out form. */
export interface Viewer {
  label: string;
  csrf: string;
}

export interface Page {
  title: string;
  viewer: Viewer | null;
  body: ComponentChildren;
  status?: number;
  /** It has forms that a passkey signs for: the script for that is loaded, too. */
  passkeys?: boolean;
}

/**
 * Everything a page may do: be styled by us, run our one file, ask us and post to us. No inline script, no
 * frame, no other origin.
 */
const contentSecurityPolicy =
  "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/** Headers of every answer to a browser, redirects and errors included. */
export function guardHeaders(res: Response): void {
  res.set({
    'Content-Security-Policy': contentSecurityPolicy,
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Cache-Control': 'no-store',
  });
}

/** Renders and sends one page. */
export function sendPage(res: Response, page: Page): void {
  guardHeaders(res);
  res
    .status(page.status ?? 200)
    .type('html')
    .send(`<!doctype html>${renderToString(document(page))}`);
}

function document(page: Page): JSX.Element {
  return h('html', { lang: 'en' }, [
    h('head', null, [
      h('meta', { charset: 'utf-8' }),
      h('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
      h('meta', { name: 'color-scheme', content: 'light dark' }),
      h('meta', { name: 'robots', content: 'noindex' }),
      h('title', null, `${visible(page.title)} · Writ`),
      h('link', { rel: 'stylesheet', href: stylesheetPath }),
      h('script', { src: scriptPath, defer: true }),
      ...(page.passkeys === true
        ? passkeyScripts.toReversed().map(({ path }) => h('script', { src: path, defer: true }))
        : []),
      h('link', { rel: 'icon', href: '/assets/writ.svg', type: 'image/svg+xml' }),
    ]),
    h('body', null, [
      h('a', { class: 'skip', href: '#main' }, 'Skip to content'),
      h('header', { class: 'masthead' }, masthead(page.viewer)),
      h('main', { id: 'main' }, page.body),
    ]),
  ]);
}

function masthead(viewer: Viewer | null): ComponentChildren {
  const mark = h('a', { class: 'mark', href: '/' }, [h('span', { class: 'seal', 'aria-hidden': 'true' }, 'W'), 'Writ']);
  if (viewer === null) return [mark];
  return [
    mark,
    h('nav', null, [
      h('a', { href: '/approvals' }, 'Approvals'),
      h('a', { href: '/approvals/mine' }, withMore('Decided', ' by you')),
      h('a', { href: '/pre-approvals' }, withMore('Ahead', ' of time')),
      h('a', { href: '/agents' }, 'Agents'),
      h('a', { href: '/passkeys' }, 'Passkeys'),
    ]),
    h('form', { class: 'who', method: 'post', action: '/logout' }, [
      h('input', { type: 'hidden', name: 'csrf', value: viewer.csrf }),
      h(Foreign, { text: viewer.label }),
      h('button', { class: 'quiet', type: 'submit' }, 'Sign out'),
    ]),
  ];
}

/** A name of which a phone shows the first word: the line of pages fits its screen. */
const withMore = (word: string, more: string) => h('span', null, [word, h('span', { class: 'more' }, more)]);

/** Renders foreign text on one line: isolated from its surroundings, invisible characters shown, clamped. */
export function Foreign({ text, max = 200 }: { text: string; max?: number }): JSX.Element {
  const shown = clamp(visible(text), max);
  return h('bdi', { class: 'foreign' }, shown.left === 0 ? shown.text : `${shown.text}…`);
}

/** A moment in UTC; in the reader's zone where their browser runs our script. */
export function Moment({ at }: { at: Date }): JSX.Element {
  return h('time', { dateTime: at.toISOString() }, moment(at));
}

/** A page that says one thing: not found, signed out, refused. */
export function notice(title: string, text: ComponentChildren, action?: { href: string; label: string }): JSX.Element {
  return h('section', { class: 'notice' }, [
    h('h1', null, title),
    h('p', null, text),
    action === undefined ? null : h('p', null, h('a', { class: 'button', href: action.href }, action.label)),
  ]);
}

const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#9b2c1f"/>' +
  '<path d="M7 10l4.500 13L16 12l4.500 11L25 10" fill="none" stroke="#fff" stroke-width="2.600" stroke-linejoin="round"/></svg>';

/** Serves the stylesheet and the icon, the only things that a page loads. */
export function assetsRouter(): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  const forever = { 'Cache-Control': 'public, max-age=31536000, immutable', 'X-Content-Type-Options': 'nosniff' };
  router.get(stylesheetPath, (_req, res) => void res.set(forever).type('css').send(stylesheet));
  router.get(scriptPath, (_req, res) => void res.set(forever).type('js').send(script));
  for (const { path, content } of passkeyScripts)
    router.get(path, (_req, res) => void res.set(forever).type('js').send(content));
  router.get('/assets/writ.svg', (_req, res) => void res.set(forever).type('svg').send(icon));
  return router;
}
