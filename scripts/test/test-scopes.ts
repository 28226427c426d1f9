/**
 * Loaded before everything else in a test process (`--import`): node's test runner finds out which test a
 * promise, timer or socket belongs to by an async hook, and that hook is called for every one of millions of
 * promises. Its question, whose work is this, is answered here by an AsyncLocalStorage, which costs next to
 * nothing. What is asked and what is answered stay the same: `test-file.test.ts` compares both.
 */
import asyncHooks from 'node:async_hooks';

const { AsyncLocalStorage, AsyncResource, createHook, executionAsyncId } = asyncHooks;

/** Tests and suites are resources of their own. */
const scope = new AsyncLocalStorage<InstanceType<typeof AsyncResource>>();
let register: asyncHooks.HookCallbacks['init'];

class TestScope extends AsyncResource {
  constructor(type: string, options?: asyncHooks.AsyncResourceOptions) {
    super(type, options);
    register?.(this.asyncId(), type, 0, this);
  }

  override runInAsyncScope<This, Result>(
    // biome-ignore lint/suspicious/noExplicitAny: as node declares it
    fn: (this: This, ...args: any[]) => Result,
    self?: This,
    // biome-ignore lint/suspicious/noExplicitAny: as node declares it
    ...args: any[]
  ): Result {
    return super.runInAsyncScope(() => scope.run(this, () => Reflect.apply(fn, self, args) as Result));
  }
}

const seenByTheRunner = {
  AsyncResource: TestScope,
  createHook: ({ init }: asyncHooks.HookCallbacks) => {
    register = init;
    const hook = { enable: () => hook, disable: () => hook };
    return hook;
  },
  executionAsyncId: () => scope.getStore()?.asyncId() ?? executionAsyncId(),
};

// The runner takes them when it is loaded; everybody else gets node's own.
Object.assign(asyncHooks, seenByTheRunner);
await import('node:test');
Object.assign(asyncHooks, { AsyncResource, createHook, executionAsyncId });
