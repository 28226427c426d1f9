/** Before `npm start`: a Node that cannot run the broker says so in one line. Plain JavaScript, for any Node. */

/** Runs TypeScript as it is, and knows how a whole process goes through a proxy. */
const least = [24, 21];

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < least[0] || (major === least[0] && minor < least[1])) {
  console.error(
    `writ: needs Node ${least.join('.')} or newer here, and this is ${process.versions.node}. \`npm ci\` without --omit=dev brings one.`,
  );
  process.exit(1);
}
