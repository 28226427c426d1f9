/** The rotas of the file that WRIT_ONCALL_FILE names. */
import { readFile } from 'node:fs/promises';
import { ConfigurationError } from '../config/settings.ts';
import { readWeeklyRotas, type WeeklyRotas } from '../people/weekly-rota.ts';

/**
 * @returns null when there is no file
 * @throws ConfigurationError with every fault of the file
 */
export async function readRotaFile(file: string | undefined): Promise<WeeklyRotas | null> {
  if (file === undefined) return null;
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ConfigurationError([`WRIT_ONCALL_FILE: ${file} cannot be read (${error.code})`]);
  });
  const rotas = readWeeklyRotas(text);
  if (!Array.isArray(rotas)) return rotas as WeeklyRotas;
  throw new ConfigurationError(rotas.map((fault) => `WRIT_ONCALL_FILE: ${file}: ${fault}`));
}
