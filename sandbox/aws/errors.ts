/** A refusal in AWS's words. `code` is the code on the wire; each protocol renders it in its own way. */
export class AwsError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number, message: string) {
    super(message);
    this.name = 'AwsError';
    this.code = code;
    this.status = status;
  }
}

export const accessDenied = (principal: string, action: string, resource: string) =>
  new AwsError(
    'AccessDenied',
    403,
    `User: ${principal} is not authorized to perform: ${action} on resource: ${resource}`,
  );
