/**
 * A page per error code, where the `type` of a problem document leads. Made from the same table that makes
 * the errors.
 */
import type { Express } from 'express';
import { h } from 'preact';
import { sendPage } from '../console/shell.ts';
import { type ErrorCode, errorTable, WritError } from '../core/errors.ts';

export function mountErrorPages(app: Express): void {
  app.get('/errors/:code', (req, res) => {
    const { code } = req.params;
    if (!Object.hasOwn(errorTable, code)) throw new WritError('not_found');
    const { status, title, help } = errorTable[code as ErrorCode];
    const body = h('div', null, [
      h('p', { class: 'kicker' }, `Error ${status} · ${code}`),
      h('h1', null, title),
      h('p', { class: 'lede' }, help.replaceAll('`', '')),
    ]);
    sendPage(res, { title: code, viewer: null, body });
  });
}
