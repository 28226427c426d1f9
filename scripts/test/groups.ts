/**
 * Which test files share a process, one after the other: what a process of its own costs a file, to load its
 * modules and to warm up, is about a second. Those of one folder, so that they need the same modules, and by
 * their names alone, so that a run can be repeated.
 */
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { calculatesLong } from './test-file.ts';

/** Enough that a start costs little, few enough that lanes end at about the same time. */
const most = 6;

/**
 * What a process has only one of, and starting processes: who touches it by itself has a process of its own,
 * and so has whoever says `@own-process`.
 */
const ofOneProcess =
  /@own-process|node:(?:child_process|worker_threads|diagnostics_channel|cluster)|playwright|\bmock\b|\bprocess\.(?:exit|chdir|kill|on|once|emit|umask)\b|\bprocess\.env(?:\.\w+|\[[^\]]+\])? = |delete process\.env|assign\(process\.env|\bglobalThis\b/;

/** Folders whose helpers start processes, or watch everything that a process sends. */
const apart = ['sandbox/kill', 'scripts', 'client/guard', 'client/hook', 'client/cli', 'client/local'];

/** @param files sorted */
export async function groupsOf(files: string[]): Promise<string[][]> {
  const groups: string[][] = [];
  const open = new Map<string, string[]>();
  for (const file of files) {
    if (await needsItsOwn(file)) {
      groups.push([file]);
      continue;
    }
    const place = roomOf(file);
    const group = open.get(place) ?? [];
    if (group.length === 0) groups.push(group);
    group.push(file);
    open.set(place, group.length < most ? group : []);
  }
  return groups;
}

/** Small rooms of `broker/` load much the same: they fill a group together. */
const roomOf = (file: string): string => file.split('/')[0]!;

async function needsItsOwn(file: string): Promise<boolean> {
  if (apart.some((folder) => `${dirname(file)}/`.startsWith(`${folder}/`))) return true;
  return (await calculatesLong(file)) || ofOneProcess.test(await readFile(file, 'utf8'));
}
