import type { SqlDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import { PrismaClient } from './prisma/client.ts';

/** @param count called for every statement that goes to the database */
export function countingPrisma(options: { adapter: SqlDriverAdapterFactory }, count: () => void): PrismaClient {
  const prisma = new PrismaClient({ ...options, log: [{ emit: 'event', level: 'query' }] });
  prisma.$on('query', count);
  return prisma as unknown as PrismaClient;
}
