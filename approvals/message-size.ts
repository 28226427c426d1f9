/**
 * How much of a request a message holds. What was cut is read on the page, and approved there (invariant 3).
 */
import { clamp, visible } from '../broker/console/text.ts';

/** Characters of any one text in a notice: a message is to be read, and the page has the rest. */
export const noticeTextMax = 500;
/** Lines of the permission; more would not fit where notices go. */
export const noticeLinesMax = 20;

/** Whether a message shows the permission whole. @param summary one fact a line, in the provider's words */
export const fitsInMessage = (summary: readonly string[]): boolean =>
  summary.length <= noticeLinesMax && summary.every((line) => clamp(visible(line), noticeTextMax).left === 0);
