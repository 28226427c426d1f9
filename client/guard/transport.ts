/** One side of the guard: what messages go out to, and come in from. */
import type { Message } from './message.ts';

export interface Transport {
  send(message: Message): void;
  /** Tells the other side that nothing more comes, and lets go of it. Resolves when it is gone. */
  close(): Promise<void>;
}

export interface TransportEvents {
  onMessage(message: Message): void;
  /** It said what is no message. */
  onFault(code: number, message: string): void;
  /** It has gone, or nothing more can be heard from it; told once or more. */
  onClose(why: string): void;
}

/** Bytes of one message, both ways. */
export const maxMessageBytes = 16 * 1024 * 1024;
/** What may wait to be read by the other side before it is given up on. */
export const maxWaitingBytes = 4 * maxMessageBytes;
