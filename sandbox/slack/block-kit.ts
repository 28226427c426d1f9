/**
 * What Block Kit takes, of the blocks that a broker uses, by Slack's reference: what it does not know it
 * refuses, as Slack does (`invalid_blocks`).
 */

export type Block = { [member: string]: unknown };

/** @throws Error that names the place */
export function checkBlocks(blocks: unknown, where: 'message' | 'modal'): Block[] {
  if (!Array.isArray(blocks)) throw new Error('blocks: not a list');
  if (blocks.length > (where === 'message' ? 50 : 100)) throw new Error('blocks: too many');
  const ids = new Set<string>();
  for (const [index, block] of blocks.entries()) checkBlock(block, `blocks[${index}]`, where, ids);
  return blocks as Block[];
}

/** @throws Error */
export function checkModal(view: unknown): Block {
  const modal = members(view, 'view', [
    'type',
    'title',
    'blocks',
    'submit',
    'close',
    'callback_id',
    'private_metadata',
  ]);
  if (modal.type !== 'modal') throw new Error('view.type');
  plain(modal.title, 'view.title', 24);
  if (modal.submit !== undefined) plain(modal.submit, 'view.submit', 24);
  if (modal.close !== undefined) plain(modal.close, 'view.close', 24);
  text(modal.callback_id ?? '', 'view.callback_id', 255);
  text(modal.private_metadata ?? '', 'view.private_metadata', 3000);
  const blocks = checkBlocks(modal.blocks, 'modal');
  if (blocks.some(({ type }) => type === 'input') && modal.submit === undefined)
    throw new Error('view.submit: missing');
  return modal;
}

function checkBlock(block: unknown, at: string, where: 'message' | 'modal', ids: Set<string>): void {
  const { type, block_id } = (block ?? {}) as Block;
  if (block_id !== undefined) {
    text(block_id, `${at}.block_id`, 255, 1);
    if (ids.has(block_id as string)) throw new Error(`${at}.block_id: twice`);
    ids.add(block_id as string);
  }
  const shape = (...more: string[]) => members(block, at, ['type', 'block_id', ...more]);
  switch (type) {
    case 'divider':
      shape();
      break;
    case 'header':
      plain(shape('text').text, `${at}.text`, 150);
      break;
    case 'section':
      anyText(shape('text').text, `${at}.text`, 3000);
      break;
    case 'context':
      for (const one of list(shape('elements').elements, `${at}.elements`, 10)) anyText(one, at, 3000);
      break;
    case 'actions': {
      const actions = list(shape('elements').elements, `${at}.elements`, 25).map((one) => button(one, at));
      if (new Set(actions).size !== actions.length) throw new Error(`${at}: an action_id twice`);
      break;
    }
    case 'input':
      if (where === 'message') throw new Error(`${at}.type: not in a message`);
      input(block, at);
      break;
    default:
      throw new Error(`${at}.type: ${String(type)}`);
  }
}

function button(value: unknown, at: string): string {
  const one = members(value, at, ['type', 'text', 'action_id', 'value', 'url', 'style', 'accessibility_label']);
  if (one.type !== 'button') throw new Error(`${at}.type`);
  plain(one.text, `${at}.text`, 75);
  text(one.action_id, `${at}.action_id`, 255, 1);
  if (one.value !== undefined) text(one.value, `${at}.value`, 2000, 1);
  if (one.url !== undefined) {
    text(one.url, `${at}.url`, 3000, 1);
    if (!URL.canParse(one.url as string)) throw new Error(`${at}.url`);
  }
  if (one.style !== undefined && one.style !== 'primary' && one.style !== 'danger') throw new Error(`${at}.style`);
  return one.action_id as string;
}

function input(block: unknown, at: string): void {
  const { label, element, hint } = members(block, at, ['type', 'block_id', 'label', 'element', 'hint', 'optional']);
  plain(label, `${at}.label`, 2000);
  if (hint !== undefined) plain(hint, `${at}.hint`, 2000);
  const field = members(element, `${at}.element`, ['type', 'action_id', 'multiline', 'min_length', 'max_length']);
  if (field.type !== 'plain_text_input') throw new Error(`${at}.element.type`);
  text(field.action_id, `${at}.element.action_id`, 255, 1);
  const most = field.max_length ?? 3000;
  if (!Number.isInteger(most) || (most as number) < 1 || (most as number) > 3000) throw new Error(`${at}.max_length`);
}

function plain(value: unknown, at: string, max: number): void {
  const one = members(value, at, ['type', 'text', 'emoji']);
  if (one.type !== 'plain_text') throw new Error(`${at}.type: must be plain_text`);
  text(one.text, `${at}.text`, max, 1);
}

function anyText(value: unknown, at: string, max: number): void {
  if ((value as Block | undefined)?.type === 'plain_text') {
    plain(value, at, max);
    return;
  }
  const one = members(value, at, ['type', 'text', 'verbatim']);
  if (one.type !== 'mrkdwn') throw new Error(`${at}.type`);
  text(one.text, `${at}.text`, max, 1);
}

function members(value: unknown, at: string, allowed: string[]): Block {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${at}: no object`);
  const stranger = Object.keys(value).find((name) => !allowed.includes(name));
  if (stranger !== undefined) throw new Error(`${at}.${stranger}: unknown`);
  return value as Block;
}

function list(value: unknown, at: string, max: number): unknown[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > max) throw new Error(`${at}: 1 to ${max}`);
  return value;
}

function text(value: unknown, at: string, max: number, min = 0): void {
  if (typeof value !== 'string' || value.length < min || value.length > max)
    throw new Error(`${at}: a text of ${min} to ${max} characters`);
}
