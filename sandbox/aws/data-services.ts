/**
 * DynamoDB, SQS and Secrets Manager in small: just enough of each JSON protocol to show that a permission
 * holds or does not.
 */
import { randomUUID } from 'node:crypto';
import { AwsError } from './errors.ts';
import type { Signed } from './sigv4.ts';
import { authorize, type State } from './state.ts';
import { jsonAnswer, type WireAnswer, type WireRequest } from './wire.ts';

type Input = Record<string, unknown>;
type Attribute = Record<string, unknown>;

export function dataService(state: State, request: WireRequest, signed: Signed): WireAnswer {
  const operation = (request.headers['x-amz-target'] ?? '').split('.')[1] ?? '';
  let input: Input;
  try {
    input = JSON.parse(request.body.toString('utf8'));
  } catch {
    throw new AwsError('SerializationException', 400, 'The body is not valid JSON.');
  }
  const services = { dynamodb, sqs, secretsmanager };
  return jsonAnswer(200, services[signed.service as keyof typeof services](state, operation, input, signed));
}

const unknown = (operation: string) => new AwsError('UnknownOperationException', 400, `Unknown operation ${operation}`);

function dynamodb(state: State, operation: string, input: Input, { principal, region }: Signed): unknown {
  const name = String(input.TableName ?? '');
  const table = state.tables.get(name);
  const resource = `arn:aws:dynamodb:${region}:${principal.account}:table/${name}`;
  const keyOf = (item: unknown) => plain((item as Record<string, Attribute> | undefined)?.[table?.partitionKey ?? '']);
  const allow = (leadingKey: string | null) =>
    authorize(
      state,
      principal,
      `dynamodb:${operation}`,
      resource,
      leadingKey === null ? {} : { 'dynamodb:leadingkeys': [leadingKey] },
    );
  const existing = () => {
    if (table === undefined) throw new AwsError('ResourceNotFoundException', 400, 'Requested resource not found');
    return table;
  };
  if (operation === 'GetItem') {
    allow(keyOf(input.Key));
    return { Item: existing().items.get(keyOf(input.Key)) };
  }
  if (operation === 'PutItem') {
    allow(keyOf(input.Item));
    existing().items.set(keyOf(input.Item), input.Item as Record<string, unknown>);
    return {};
  }
  if (operation === 'Query') {
    const placeholder = /=\s*(:\w+)/.exec(String(input.KeyConditionExpression))?.[1] ?? '';
    const key = plain((input.ExpressionAttributeValues as Record<string, Attribute> | undefined)?.[placeholder]);
    allow(key);
    const item = existing().items.get(key);
    return { Items: item === undefined ? [] : [item], Count: item === undefined ? 0 : 1 };
  }
  if (operation === 'Scan') {
    // A scan has no leading key: AWS leaves the condition key out of the request.
    allow(null);
    return { Items: [...existing().items.values()] };
  }
  throw unknown(operation);
}

const plain = (attribute: Attribute | undefined): string => String(Object.values(attribute ?? {})[0] ?? '');

function sqs(state: State, operation: string, input: Input, { principal, region }: Signed): unknown {
  const [account = '', name = ''] = String(input.QueueUrl ?? '')
    .split('/')
    .slice(-2);
  const arn = `arn:aws:sqs:${region}:${account}:${name}`;
  if (operation !== 'SendMessage' && operation !== 'ReceiveMessage') throw unknown(operation);
  authorize(state, principal, `sqs:${operation}`, arn);
  const queue = state.queues.get(arn);
  if (queue === undefined) throw new AwsError('QueueDoesNotExist', 400, 'The specified queue does not exist.');
  if (operation === 'SendMessage') {
    queue.push(String(input.MessageBody ?? ''));
    return { MessageId: randomUUID() };
  }
  return {
    Messages: queue.splice(0, 1).map((body) => ({ MessageId: randomUUID(), ReceiptHandle: randomUUID(), Body: body })),
  };
}

function secretsmanager(state: State, operation: string, input: Input, { principal }: Signed): unknown {
  const arn = String(input.SecretId ?? '');
  if (operation !== 'GetSecretValue') throw unknown(operation);
  authorize(state, principal, 'secretsmanager:GetSecretValue', arn);
  const value = state.secrets.get(arn);
  if (value === undefined)
    throw new AwsError('ResourceNotFoundException', 400, 'Secrets Manager can’t find the specified secret.');
  return { ARN: arn, SecretString: value };
}
