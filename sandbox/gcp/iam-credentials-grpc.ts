/** The gRPC face of IAM Credentials, from the very protos that Google's client library ships. */
import { createRequire } from 'node:module';
import * as grpc from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { GoogleError } from './errors.ts';
import type { GenerateAccessTokenRequest } from './iam-credentials.ts';

interface WireRequest {
  name: string;
  scope: string[];
  delegates: string[];
  lifetime: { seconds: string; nanos: number } | null;
}

type Call = grpc.ServerUnaryCall<WireRequest, unknown>;

/**
 * Serves on 127.0.0.1 without TLS. `handle` gets the request and the value of the authorization metadata;
 * while it returns null the call is left hanging. Other methods of the service answer UNIMPLEMENTED.
 */
export async function serveIamCredentialsGrpc(
  port: number,
  handle: (
    authorization: string | undefined,
    request: GenerateAccessTokenRequest,
  ) => { accessToken: string; expireTime: Date } | null,
): Promise<{ port: number; close(): void }> {
  const server = new grpc.Server();
  const protos = createRequire(import.meta.url)('@google-cloud/iam-credentials/build/protos/protos.json');
  const definition = fromJSON(protos, { longs: String, defaults: true })['google.iam.credentials.v1.IAMCredentials'];
  server.addService(definition as grpc.ServiceDefinition, {
    generateAccessToken: (call: Call, done: grpc.sendUnaryData<unknown>) => {
      try {
        const answer = handle(call.metadata.get('authorization')[0]?.toString(), readRequest(call.request));
        if (answer === null) return;
        const seconds = String(Math.floor(answer.expireTime.getTime() / 1000));
        done(null, { accessToken: answer.accessToken, expireTime: { seconds, nanos: 0 } });
      } catch (error) {
        if (error instanceof GoogleError) {
          const metadata = new grpc.Metadata();
          if (error.retryAfterSeconds !== undefined) metadata.set('retry-after', String(error.retryAfterSeconds));
          done({ code: error.grpcCode, details: error.message, metadata });
        } else done({ code: grpc.status.INTERNAL, details: 'Internal error encountered.' });
      }
    },
  });
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, chosen) =>
      error === null ? resolve(chosen) : reject(error),
    ),
  );
  return { port: bound, close: () => server.forceShutdown() };
}

function readRequest(wire: WireRequest): GenerateAccessTokenRequest {
  const { lifetime } = wire;
  return {
    name: wire.name,
    scope: wire.scope,
    delegates: wire.delegates,
    lifetimeSeconds: lifetime === null ? null : Number(lifetime.seconds) + lifetime.nanos / 1e9,
  };
}
