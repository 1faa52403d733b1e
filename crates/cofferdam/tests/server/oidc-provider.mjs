// A real OpenID provider for the test beside this file: node oidc-provider.mjs PACKAGES PORT KID
// Clients get access tokens as JWTs by client credentials; people meet the library's own forms for login and consent.
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [packages, port, kid] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${packages}/node_modules/oidc-provider/lib/index.js`));
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const groups = { alice: ['sre', 'everyone'], bob: ['nobody'], carol: ['sre'] };
const service = (client_id) => ({
  client_id, client_secret: 'not-a-secret-of-anybody', grant_types: ['client_credentials'],
  redirect_uris: [], response_types: [],
});
const audiences = { 'urn:ours': ['cofferdam', 3600], 'urn:other': ['other', 3600], 'urn:brief': ['cofferdam', 1] };

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }] },
  cookies: { keys: ['of-a-test'] },
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  clients: [
    ...Object.keys(groups).map(service),
    {
      client_id: 'cofferdam', token_endpoint_auth_method: 'none', application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'], grant_types: ['authorization_code'],
    },
  ],
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'use', audience: audiences[resource][0], accessTokenTTL: audiences[resource][1],
        accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (ctx, token) => ({ sub: token.accountId ?? token.clientId, groups: groups[token.accountId ?? token.clientId] ?? [] }),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups[id] ?? [] }) }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
