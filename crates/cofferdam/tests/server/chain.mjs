// Verifies a chain of delegations with npm's `jose` and prints who holds it, from the root on:
// node chain.mjs PACKAGES JWKS TOKEN
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [packages, jwks, file] = process.argv.slice(2);
const resolve = createRequire(pathToFileURL(`${packages}/node_modules/oidc-provider/package.json`)).resolve;
const { createLocalJWKSet, decodeJwt, importJWK, jwtVerify } = await import(pathToFileURL(resolve('jose')));
const set = JSON.parse(readFileSync(jwks, 'utf8'));

const chain = [];
for (let token = readFileSync(file, 'utf8').trim(); token; token = decodeJwt(token).parent) chain.unshift(token);
const options = { audience: set.audience, typ: 'delegation+jwt', algorithms: ['EdDSA'] };
const holders = [];
let above = createLocalJWKSet(set);
for (const token of chain) {
  const { payload } = await jwtVerify(token, above, options);
  holders.push(payload.act?.sub ?? payload.sub);
  above = await importJWK(payload.cnf.jwk, 'EdDSA');
}
console.log(holders.join(' '));
