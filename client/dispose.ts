/**
 * `await using` needs a symbol that the first releases of Node 20 lack. Compilers that rewrite `await using`
 * look for it on `Symbol`.
 */
if (Symbol.asyncDispose === undefined) {
  Object.defineProperty(Symbol, 'asyncDispose', { value: Symbol.for('Symbol.asyncDispose') });
}
