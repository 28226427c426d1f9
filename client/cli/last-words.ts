/** What is thrown where nobody catches it is one line, as every other failure; never a bare stack. */
export function sayOneLine(): void {
  // `writ … | head`: nobody reads on, and that is no failure.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : 1));
  process.stderr.on('error', () => process.exit(1));
  process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
    console.error(`✘ ${(error?.message || error?.code || String(error)).split('\n')[0]}`);
    process.exit(1);
  });
}
