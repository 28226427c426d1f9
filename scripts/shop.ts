/** A shop's database as an admin has prepared it for leases: for the quickstart and the benchmark. */

import { applyPreparation, type TableToPrepare } from '../providers/postgres/prepare.ts';
import { readTarget } from '../providers/postgres/target.ts';
import { shopRolesSql, shopTablesSql } from '../sandbox/postgres/data.ts';

const brokerPassword = 'the-brokers-own-password';

/** Statements as the superuser. */
export interface ShopServer {
  port: number;
  run(text: string, values?: unknown[], database?: string): Promise<unknown>;
}

/** Makes the database `shop`, and prepares it. @returns WRIT_POSTGRES_URL */
export async function openShop(server: ShopServer, tables: TableToPrepare[], moreSql = ''): Promise<string> {
  await server.run(shopRolesSql);
  await server.run('CREATE DATABASE shop');
  await server.run(shopTablesSql + moreSql, undefined, 'shop');
  const admin = readTarget(`postgres://shop_admin:admin-password@127.0.0.1:${server.port}/shop`);
  if (typeof admin === 'string') throw new Error(admin);
  const signal = AbortSignal.timeout(60_000);
  await applyPreparation({ admin, ca: null, broker: 'writ_broker', brokerPassword, tables, signal });
  return `postgres://writ_broker:${brokerPassword}@127.0.0.1:${server.port}/shop`;
}
