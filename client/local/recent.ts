/** A table that keeps the newest entries only: a Map is in the order of its insertions. */
export function keepRecent<K, V>(of: Map<K, V>, key: K, value: V, most: number): void {
  of.delete(key);
  of.set(key, value);
  for (const oldest of of.keys()) {
    if (of.size <= most) return;
    of.delete(oldest);
  }
}
