/** Which files of a folder are manifests: the broker and the command must not differ on it. */

/** Whether a file of the folder is a manifest: cases of one stand beside it. */
export const isManifest = (name: string): boolean => /(?<!\.cases)\.yaml$/.test(name);

/**
 * What is wrong with the name of a file that only looks like a manifest, or like its cases, and would be
 * passed over in silence; null = nothing.
 */
export function nameFault(name: string): string | null {
  const [, stem, ending] = /^(.*)\.(ya?ml|json[5cl]?)$/is.exec(name) ?? [];
  if (ending === undefined || ending === 'yaml') return null;
  const what = /json/i.test(ending) ? 'write it as YAML, or take it out of the folder' : 'rename it';
  return stem?.toLowerCase().endsWith('.cases')
    ? `the name of a manifest’s cases ends in .cases.yaml; ${what}`
    : `a manifest’s name ends in .yaml; ${what}`;
}
