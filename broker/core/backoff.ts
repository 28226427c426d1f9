/** How long to wait after so many failures in a row. */

/**
 * 1 s, 2 s, 4 s … `longestMs`, each between half and the whole of it, so that processes do not come together.
 * @param random from 0 to 1
 */
export function backoffMs(failures: number, random: number, longestMs = 60_000): number {
  const whole = Math.min(longestMs, 1000 * 2 ** Math.min(Math.max(failures - 1, 0), 16));
  return whole / 2 + (whole / 2) * random;
}
