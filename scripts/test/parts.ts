/** What a process is told that runs several test files. */

/** The environment variable that says what to run. */
export const togetherVariable = 'WRIT_TEST_TOGETHER';

export interface Together {
  parts: { file: string; env: Record<string, string> }[];
  /** How long what a file has closed may take to go. */
  graceSeconds: number;
}
