/** An answer that is an error, as Fleet Server words it: HTTP status, name, and a sentence. */
import type { ErrorBody } from '../wire/fleet.ts';

export class Fault extends Error {
  override readonly name = 'Fault';
  readonly body: ErrorBody;

  constructor(statusCode: number, error: string, message: string) {
    super(message);
    this.body = { statusCode, error, message };
  }
}

export const badRequest = (why: string): Fault => new Fault(400, 'BadRequest', `Bad request: ${why}`);
export const unauthorized = (): Fault => new Fault(401, 'ErrUnauthorized', 'unauthorized');
