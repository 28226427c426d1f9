/** For a server that must know its port before it starts. */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

/** A port of loopback that is free now; somebody else could take it before its user does. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
