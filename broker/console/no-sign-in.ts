/** What `/` and the way to signing in show where sign-in is not configured: what to set. */
import express, { type Request, type Router } from 'express';
import { h } from 'preact';
import { notice, sendPage } from './shell.ts';

/**
 * @param url public address of the broker
 * @param isSignedIn whether a login of before still stands: its pages stay
 */
export function noSignInRouter(url: string, isSignedIn: (req: Request) => Promise<boolean>): Router {
  const router = express.Router({ caseSensitive: true, strict: true });
  router.get(['/', '/login'], async (req, res, next) => {
    if (await isSignedIn(req)) return next();
    const variables = ['WRIT_OIDC_ISSUER', 'WRIT_OIDC_CLIENT_ID', 'WRIT_OIDC_CLIENT_SECRET', 'WRIT_ADMIN_GROUP'];
    const text = [
      'The broker is up, but nobody can sign in here yet. Register a client at your OpenID Connect provider, with the redirect address ',
      h('code', null, `${url}/login/callback`),
      ' and a groups claim. Then set these variables and start the broker again: ',
      ...variables.flatMap((name, index) => [index === 0 ? '' : ', ', h('code', null, name)]),
      '. Until then agents get what policy alone allows; the API takes the bootstrap token of the first start. docs/sign-in.md says more; ',
      h('code', null, 'npm run quickstart -- --keep'),
      ' shows a console that is set up.',
    ];
    sendPage(res, { title: 'Sign-in is not set up', viewer: null, body: notice('Sign-in is not set up', text) });
  });
  return router;
}
